//! TLS as the URL's `sslmode` means it. Verified by default; every weaker mode is one that the URL
//! spells out, and there is no silent way back to plain text. The driver does the handshake.

use std::path::{Path, PathBuf};

use mysql_async::{ClientIdentity, SslOpts};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::catalog::name::show;
use crate::engine::{Url, UrlError};

/// How much the connection must prove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    /// TLS where the server has it, unverified.
    Prefer,
    /// TLS, unverified.
    Require,
    #[default]
    VerifyFull,
}

/// The TLS part of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    pub mode: Mode,
    root: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Tls {
    /// What the URL asks for; a socket is private as it is.
    pub fn from_url(url: &Url, socket: bool) -> Result<Self, UrlError> {
        let path = |name| url.option(name).map(PathBuf::from);
        let (root, cert, key) = (path("sslrootcert"), path("sslcert"), path("sslkey"));
        let mode = match url.option("sslmode") {
            None if socket => Mode::Disable,
            None | Some("verify-full") => Mode::VerifyFull,
            Some("disable") => Mode::Disable,
            Some("prefer") => Mode::Prefer,
            Some("require") => Mode::Require,
            Some(other) => {
                return Err(UrlError::new(
                    "E306",
                    format!("sslmode={other} is not taken in a {} URL", url.scheme()),
                )
                .help("modes here are verify-full, require, prefer and disable"));
            }
        };
        if root.is_some() && mode != Mode::VerifyFull {
            return Err(UrlError::new("E306", "sslrootcert is given, and sslmode says not to look at it")
                .help("leave sslmode out, or write sslmode=verify-full"));
        }
        Ok(Self { mode, root, cert, key })
    }

    /// For the driver. An error is a text for the user.
    pub fn options(&self) -> Result<SslOpts, String> {
        let roots = match &self.root {
            Some(root) => vec![root.clone().into()],
            None => native_roots()?.into_iter().map(Into::into).collect(),
        };
        let mut options = SslOpts::default().with_disable_built_in_roots(true).with_root_certs(roots);
        if self.mode != Mode::VerifyFull {
            options = options.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let identity = ClientIdentity::new(cert.clone().into(), key.clone().into());
            options = options.with_client_identity(Some(identity));
        }
        Ok(options)
    }
}

/// The authorities that this machine trusts. Some of a machine's own list may be past reading; the
/// driver would refuse all for the sake of one.
fn native_roots() -> Result<Vec<Vec<u8>>, String> {
    let mut store = tokio_rustls::rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs().certs;
    let usable = found.into_iter().filter(|one| store.add(one.clone()).is_ok());
    let roots: Vec<_> = usable.map(|one| one.to_vec()).collect();
    match roots.is_empty() {
        false => Ok(roots),
        true => Err("this machine has no list of trusted authorities; give one with sslrootcert=FILE".into()),
    }
}

/// Reads every file that the URL names, so that a plan finds a wrong one before it connects.
pub(super) fn check(tls: &Tls) -> Result<(), UrlError> {
    if let Some(root) = &tls.root {
        certificates(root).map_err(|why| bad_file("sslrootcert", root, why))?;
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            certificates(cert).map_err(|why| bad_file("sslcert", cert, why))?;
            PrivateKeyDer::from_pem_file(key).map_err(|error| bad_file("sslkey", key, pem_error(&error)))?;
            check_key_mode(key)
        }
        (None, None) => Ok(()),
        _ => Err(UrlError::new("E308", "sslcert and sslkey belong together, and one of them is missing")),
    }
}

fn certificates(path: &Path) -> Result<(), &'static str> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| pem_error(&error))?;
    let list: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| pem_error(&error))?;
    if list.is_empty() { Err("holds no certificate in PEM form") } else { Ok(()) }
}

fn pem_error(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist",
        pem::Error::Io(_) => "cannot be read",
        _ => "is not in PEM form",
    }
}

fn bad_file(option: &str, path: &Path, why: &str) -> UrlError {
    UrlError::new("E308", format!("{option}: {} {why}", show(&path.display().to_string())))
}

fn check_key_mode(path: &Path) -> Result<(), UrlError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_or(0, |data| data.permissions().mode());
    match mode & 0o077 {
        0 => Ok(()),
        _ => {
            Err(bad_file("sslkey", path, "may be read by others than its owner")
                .help("chmod 600 the key file"))
        }
    }
}
