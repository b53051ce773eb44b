"""Computed bodies to train on: torso, head and limb, each one different, none of them a person's.

Random shapes teach what an object in a box looks like, not what radiologists draw boxes round. These bodies have
organs where organs are, made of solids (`training/shapes.py`) with random sizes, places and bends.
"""
