"""The door into 3D Slicer: the bridge between MRML and the engine, the worker process, and the panel.

Importing the package imports neither Slicer nor torch.
"""
