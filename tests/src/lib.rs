//! Holds the test targets; see the folders beside.
