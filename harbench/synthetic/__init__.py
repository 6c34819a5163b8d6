"""Draws the data set `sample`: figures that move, as archives in every form that real ones have."""
