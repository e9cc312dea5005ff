//! What a run comes to: windows of all workers merged, ready to be printed.
