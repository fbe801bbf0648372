"""Formats shared by several data sets: point files, pair lists, MATLAB files, pickles, angles, folds."""
