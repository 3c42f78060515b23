//! The smallest HTTP client there is: one request, one connection, every byte of the answer seen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::command::Running;
use super::wait_until;

/// Where a command shows itself: `127.0.0.1:4711`.
#[derive(Clone, Debug)]
pub struct Site(pub String);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// As they came, with their line ends.
    pub head: String,
    pub body: String,
}

impl Site {
    /// Waits until a command says where it is.
    pub fn of(running: &mut Running) -> Self {
        let mut found = None;
        wait_until("it says where its page is", Duration::from_secs(60), || {
            let said = running.so_far();
            found =
                said.lines().find_map(|line| line.strip_prefix("status page: http://").map(str::to_string));
            assert!(found.is_some() || !running.ended(), "it ended and served nothing: {said}");
            found.is_some()
        });
        Self(found.unwrap().trim_end_matches('/').to_string())
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.0)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// With these headers, of which `Host` replaces the usual one.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.0)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request.push_str(&format!("Host: {}\r\n", self.0));
        }
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{request}\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Ok(Answer { status, head: head.to_string(), body: body.to_string() })
    }

    /// `/status.json`; none where nobody answers any more.
    pub fn look(&self) -> Option<Value> {
        let answer = self.ask("GET", "/status.json", &[]).ok()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        Some(serde_json::from_str(&answer.body).unwrap())
    }

    /// Looks until the state is as it should be.
    pub fn until(&self, what: &str, mut good: impl FnMut(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait_until(what, Duration::from_secs(90), || {
            last =
                self.look().unwrap_or_else(|| panic!("nobody answers, and not yet: {what}; before: {last}"));
            good(&last)
        });
        last
    }

    /// The value of a line of `/metrics`; `line` is its name with its labels.
    pub fn metric(&self, line: &str) -> Option<f64> {
        let body = self.get("/metrics").body;
        let value = body.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }
}
