"""The version of this package, also where nothing was installed by pip (inside 3D Slicer)."""

SOFTWARE_VERSION = "0.1.0"
