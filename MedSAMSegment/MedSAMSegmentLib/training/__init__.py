"""Training on synthetic volumes only: shapes, scenes, appearance, samples, losses, the trainer.

Nothing here reads a patient's image. The generator follows the domain randomisation of SynthSeg (Billot et al.,
Medical Image Analysis 2023), SynthMorph (Hoffmann et al., IEEE TMI 2022) and AnyStar (Dey et al., WACV 2024):
random geometry, random contrast, random acquisition, so that a network never meets the same look twice.
"""
