//! `--serve ADDR`: a page, `/status.json`, `/metrics`, `/ready` and `/live` about the command that
//! is going on. Answers questions and takes no orders. It is up from before the first connection
//! to a database until the command ends.

pub mod board;
mod history;
mod metrics;
pub mod server;
pub mod stream;
pub mod supervisor;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

pub use board::{Board, Phase};
pub use server::Server;

use super::failure::{Failure, What};
use super::{Face, exit};
use crate::runtime::{Event, Reporter};
use server::TOKEN;

/// Tells two reporters.
pub struct Both<'a>(pub &'a dyn Reporter, pub &'a dyn Reporter);

impl Reporter for Both<'_> {
    fn event(&self, event: &Event) {
        self.0.event(event);
        self.1.event(event);
    }
}

/// The board of a command, and who shows it. Dropped, nobody does.
pub struct Serving {
    pub board: Arc<Board>,
    server: Option<Arc<Server>>,
    /// End with it.
    _tasks: JoinSet<std::convert::Infallible>,
}

impl Serving {
    /// Listens where it was asked to, and says where the page is.
    pub async fn start(
        command: &'static str,
        address: Option<SocketAddr>,
        face: &Face,
    ) -> Result<Self, Failure> {
        let board = Arc::new(Board::new(command));
        let mut tasks = JoinSet::new();
        let Some(address) = address else { return Ok(Self { board, server: None, _tasks: tasks }) };
        let token = std::env::var(TOKEN).ok();
        let server = Arc::new(Server::bind(address, token.as_deref()).await?);
        face.screen.say(&format!("status page: {}", server.url()));
        let (shown, asked) = (board.clone(), server.clone());
        tasks.spawn(async move { asked.run(shown).await });
        let sampled = board.clone();
        tasks.spawn(async move { sampled.sample().await });
        Ok(Self { board, server: Some(server), _tasks: tasks })
    }

    /// Shows how the command ended. Who looks at it all the time gets to see the end.
    pub async fn end(self, result: &Result<u8, Failure>) {
        let (phase, error) = match result {
            Ok(exit::DONE) => (Phase::Done, None),
            Ok(_) => (Phase::Stopped, None),
            Err(Failure { what: What::Silent, .. }) => (Phase::Stopped, None),
            Err(Failure { what: What::Message(message), .. }) => (Phase::Failed, Some(message.text.clone())),
            Err(Failure { what: What::Problems { .. }, .. }) => {
                (Phase::Failed, Some("the plan file has problems".into()))
            }
        };
        self.board.end(phase, error);
        if let Some(server) = &self.server {
            server.last_look().await;
        }
    }
}
