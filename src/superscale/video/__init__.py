"""Clips: every frame at its time, in segments that a killed run keeps, beside the sound and subtitles of the original.

FFmpeg is reached through PyAV, which this package alone imports.
"""
