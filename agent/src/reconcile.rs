//! The smallest ordered list of table writes that turns what the kernel has into what it should have.
