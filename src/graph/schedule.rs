//! Which unit may run next: pure, so that the order can be tested without running anything.
