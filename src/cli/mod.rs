//! The face: commands, one file each. Opens no database itself and decides nothing about data.
