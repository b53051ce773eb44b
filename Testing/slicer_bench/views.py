"""Slice and 3-D views without a window: Slicer's slice logic, displayable managers and interactor styles, drawn by VTK.

Only what puts the slice's image on the screen is ours; in Slicer that is CTK's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

_SLICE_MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
_3D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class View:
    """A picture of the scene; positions on it are pixels from the lower left corner."""

    def __init__(self, factory: Any, managers: tuple[str, ...], size: tuple[int, int]) -> None:
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        known = factory.GetInstance()
        for name in managers:
            if not known.IsDisplayableManagerRegistered(name):
                known.RegisterDisplayableManager(name)
        self.managers.Initialize(known, self.renderer)

    def pixels(self) -> np.ndarray:
        """The picture as it is now, (height, width, 3) uint8, lowest row first."""
        from vtk.util.numpy_support import vtk_to_numpy

        image = self._grab()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[:, :, :3]

    def save(self, path: str) -> None:
        """Write the picture as PNG."""
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(path)
        writer.SetInputData(self._grab())
        writer.Write()

    def mouse(self, event: str, place: np.ndarray) -> None:
        """Something the mouse does, e.g. ``"MouseMoveEvent"``, at a position."""
        self.interactor.SetEventInformation(round(float(place[0])), round(float(place[1])), 0, 0, chr(0), 0, None)
        self.interactor.InvokeEvent(event)

    def click(self, place: np.ndarray) -> None:
        for event in ("MouseMoveEvent", "LeftButtonPressEvent", "LeftButtonReleaseEvent"):
            self.mouse(event, place)

    def _grab(self) -> Any:
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        return grabber.GetOutput()


class SliceView(View):
    """One slice of a volume, with segments and markups over it.

    Args:
        name: of the slice node, e.g. ``"Red"``.
        orientation: ``"Axial"``, ``"Coronal"`` or ``"Sagittal"``.
        size: width and height, pixels.
    """

    def __init__(self, name: str = "Red", orientation: str = "Axial", size: tuple[int, int] = (512, 512)) -> None:
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, _SLICE_MANAGERS, size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        application = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.managers.SetMRMLDisplayableNode(self.node)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(self.logic)
        self._style.SetDisplayableManagers(self.managers)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self.interactor)
        self.logic.ResizeSliceNode(*size)
        self._image = vtk.vtkImageMapper()
        self._image.SetColorWindow(255)
        self._image.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._image)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)

    def show(self, volume_node: Any) -> None:
        """Show a volume, as large as fits, in the middle."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        self.logic.RotateSliceToLowestVolumeAxes(False)
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()
        self._image.SetInputConnection(self.logic.GetImageDataConnection())

    def to_screen(self, point: np.ndarray) -> np.ndarray:
        """Where a point (RAS mm) is on the picture."""
        to_xy = np.linalg.inv(slicer.util.arrayFromVTKMatrix(self.node.GetXYToRAS()))
        return (to_xy @ np.append(point, 1.0))[:2]


class ThreeDView(View):
    """Surfaces and markups in space."""

    def __init__(self, name: str = "1", size: tuple[int, int] = (512, 512)) -> None:
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, _3D_MANAGERS, size)
        application = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddViewNode(name)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self._style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self._style.SetDisplayableManagers(self.managers)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyle3D())
        self._style.SetInteractor(self.interactor)

    def look_from_front(self) -> None:
        """All that is shown, from the patient's front and a little from above."""
        self.window.Render()
        self.renderer.ResetCamera()
        self.renderer.GetActiveCamera().Elevation(-75)
        self.renderer.ResetCameraClippingRange()
