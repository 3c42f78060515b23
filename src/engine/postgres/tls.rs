//! TLS as libpq's `sslmode` means it, on rustls. Verified by default; every weaker mode is one the
//! URL spells out, and there is no silent way back to plain text (manual, section 34.19).

use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::error::escape;
use crate::engine::{Cause, EngineError, UrlError};

/// How much the connection must prove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    Disable,
    /// Plain first, TLS when the server refuses that.
    Allow,
    /// TLS where the server has it, unverified.
    Prefer,
    /// TLS, unverified; with a root certificate file as `VerifyCa`, as libpq does.
    Require,
    VerifyCa,
    #[default]
    VerifyFull,
}

impl Mode {
    /// The mode of that name in a URL.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// The TLS part of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub mode: Mode,
    pub root: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Reads every file that the URL names, so that `plan` finds a wrong one before connecting.
    pub fn check(&self) -> Result<(), UrlError> {
        if let Some(path) = &self.root {
            roots_of(path).map_err(|why| bad_file("sslrootcert", path, &why))?;
        }
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                certificates(cert).map_err(|why| bad_file("sslcert", cert, &why))?;
                private_key(key).map_err(|why| bad_file("sslkey", key, &why))?;
                check_key_mode(key)
            }
            (None, None) => Ok(()),
            _ => Err(UrlError::new("E308", "sslcert and sslkey belong together, and one of them is missing")),
        }
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let verifier = Verifier::new(self, &provider)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let config = builder.with_client_auth_cert(chain, private_key(key)?);
                config.map_err(|error| format!("E308 the client certificate and its key: {error}"))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }

    /// Does the handshake over a connection whose server has agreed to it. Also returns the
    /// hash that binds SCRAM to this channel, where the certificate has one.
    pub async fn handshake(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<(TlsStream<TcpStream>, Option<Vec<u8>>), EngineError> {
        let fail = |message: String| EngineError::new(Cause::Tls, "set up TLS with", message);
        let config = self.config().map_err(|why| fail(why).contract("E308"))?;
        let name = ServerName::try_from(host.to_string())
            .map_err(|_| fail("the host is neither a DNS name nor an IP address".into()))?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.map_err(|error| handshake_error(&error))?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let binding = leaf.and_then(|leaf| end_point_hash(leaf));
        Ok((stream, binding))
    }
}

fn handshake_error(error: &std::io::Error) -> EngineError {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let made = |message: &str| EngineError::new(Cause::Tls, "set up TLS with", message);
    match found {
        Some(Error::InvalidMessage(_)) => {
            made("not a PostgreSQL server: it agreed to TLS and then spoke something else").contract("E314")
        }
        Some(Error::InvalidCertificate(why)) => certificate_error(why),
        Some(other) => made(&escape(&other.to_string())),
        None => EngineError::new(Cause::Connection, "set up TLS with", "the server closed the connection"),
    }
}

fn certificate_error(why: &CertificateError) -> EngineError {
    let (message, hint) = match why {
        CertificateError::UnknownIssuer => (
            "the server's certificate is not signed by an authority that is trusted here".to_string(),
            "give the authority's certificate with sslrootcert=FILE",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "the server's certificate is for another host name".to_string(),
            "use the name in the certificate, or write sslmode=verify-ca to accept any name",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("the server's certificate has expired".to_string(), "renew it on the server")
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "the server presents an authority's own certificate as its server certificate".to_string(),
            "sign a server certificate with that authority, or write sslmode=require to skip the check",
        ),
        other => {
            (escape(&format!("the server's certificate was refused: {other}")), "see sslrootcert and sslmode")
        }
    };
    EngineError::new(Cause::Tls, "verify", message).hint(hint)
}

fn bad_file(option: &str, path: &std::path::Path, why: &str) -> UrlError {
    let shown = crate::catalog::name::show(&path.display().to_string());
    UrlError::new("E308", format!("{option}: {shown} {why}"))
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(pem_error)?;
    let list: Vec<_> = found.collect::<Result<_, _>>().map_err(pem_error)?;
    if list.is_empty() { Err("holds no certificate in PEM form".into()) } else { Ok(list) }
}

fn private_key(path: &std::path::Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(pem_error)
}

fn pem_error(error: rustls_pki_types::pem::Error) -> String {
    match error {
        rustls_pki_types::pem::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist".into(),
            _ => "cannot be read".into(),
        },
        _ => "is not in PEM form".into(),
    }
}

fn check_key_mode(path: &std::path::Path) -> Result<(), UrlError> {
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

fn roots_of(path: &std::path::Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|_| "holds something that is no certificate".to_string())?;
    }
    Ok(store)
}

fn roots(tls: &Tls) -> Result<RootCertStore, String> {
    if let Some(path) = &tls.root {
        return roots_of(path);
    }
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match store.is_empty() {
        false => Ok(store),
        true => Err("this machine has no list of trusted authorities; give one with sslrootcert=FILE".into()),
    }
}

/// Checks as much of the server's certificate as the mode asks for; signatures always.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    any_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let checked = match tls.mode {
            Mode::VerifyFull | Mode::VerifyCa => true,
            Mode::Require => tls.root.is_some(),
            Mode::Disable | Mode::Allow | Mode::Prefer => false,
        };
        let chain = match checked {
            false => None,
            true => {
                let built =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots(tls)?), provider.clone());
                Some(built.build().map_err(|error| error.to_string())?)
            }
        };
        Ok(Self { chain, any_name: tls.mode != Mode::VerifyFull, provider: provider.clone() })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            // The name is checked after the chain, so this error means that the chain is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The hash of RFC 5929 (`tls-server-end-point`): by the hash of the certificate's signature,
/// SHA-256 in place of MD5 and SHA-1; none for signatures without a hash of their own.
fn end_point_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let oid = signature_oid(certificate)?;
    let (family, kind) = oid.split_at_checked(oid.len().checked_sub(1)?)?;
    match (family, kind) {
        (RSA, [4 | 5 | 11]) | (ECDSA, [2]) => Some(Sha256::digest(certificate).to_vec()),
        (RSA, [12]) | (ECDSA, [3]) => Some(Sha384::digest(certificate).to_vec()),
        (RSA, [13]) | (ECDSA, [4]) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// The OID in `Certificate ::= SEQUENCE { tbs SEQUENCE, signature SEQUENCE { OID ... } ... }`.
fn signature_oid(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = der_value(der, 0x30)?;
    let (_, after_tbs) = der_value(certificate, 0x30)?;
    let (algorithm, _) = der_value(after_tbs, 0x30)?;
    der_value(algorithm, 0x06).map(|(oid, _)| oid)
}

/// A DER value with this tag at the start: its content, and what follows.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first().filter(|_| *first == tag)?;
    if short < 0x80 {
        return rest.split_at_checked(short.into());
    }
    let (length, rest) = rest.split_at_checked((short & 0x7f).into())?;
    let length =
        length.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?;
    rest.split_at_checked(length)
}
