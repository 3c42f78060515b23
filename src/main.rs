//! Hands the arguments to the face and returns its exit code.

/// Planning makes and frees small pieces by the hundred thousand.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Reads `FAILPOINTS`: where the tests want this process to die.
    #[cfg(feature = "failpoints")]
    let _crash_points = fail::FailScenario::setup();
    towpath::cli::main()
}
