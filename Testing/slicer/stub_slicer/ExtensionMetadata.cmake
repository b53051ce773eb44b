# What the Extensions Index asks for, as lines "name value".
file(WRITE ${CMAKE_BINARY_DIR}/metadata.txt "project ${PROJECT_NAME}\n")
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${name})
    message(SEND_ERROR "EXTENSION_${name} is not set")
  endif()
  string(TOLOWER ${name} lower)
  file(APPEND ${CMAKE_BINARY_DIR}/metadata.txt "${lower} ${EXTENSION_${name}}\n")
endforeach()
