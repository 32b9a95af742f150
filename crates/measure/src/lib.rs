//! Pure functions that score: nearest neighbours, distances, confusion
