"""What several data sets share: point files, pair lists, MATLAB files, pickles, angles, folds."""
