//! Ctrl-C and SIGTERM during a run: the first asks it to stop at a clean point, the second ends
//! the process at once. Either way the same command goes on later.

use crate::runtime::Stop;

use super::exit;

/// A signal, and the exit code of its second coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Interrupt,
    Terminate,
}

/// Listens for as long as it is polled; never returns.
pub async fn listen(stop: &Stop) -> std::convert::Infallible {
    let Some(mut signals) = Signals::new() else { return std::future::pending().await };
    signals.next().await;
    stop.ask();
    let code = match signals.next().await {
        Signal::Interrupt => exit::INTERRUPTED,
        Signal::Terminate => exit::TERMINATED,
    };
    // No clean-up on purpose: whatever is open rolls back, and the marks say what is done.
    std::process::exit(code.into());
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt()).ok()?;
        Some(Self { interrupt, terminate: signal(SignalKind::terminate()).ok()? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}
