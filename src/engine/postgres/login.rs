//! The start of a session: start-up packet, authentication, first parameters (manual, section
//! 55.2.1). Whatever answers, at most a few KiB are read of it before it has proved to be
//! PostgreSQL; a password goes in the clear over TLS or a socket only.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::error::{self, ServerError, escape};
use super::wire::{Duplex, Fault, Frame, Wire};
use crate::engine::{Cause, EngineError};

/// Largest message before the session is ready.
const FRAME_BYTES_MAX: usize = 64 << 10;
const DOING: &str = "connect to";

/// Who we are, and how the session shall behave.
pub struct Login<'a> {
    pub user: &'a str,
    pub password: Option<&'a str>,
    pub database: &'a str,
    pub settings: &'a [(String, String)],
    /// Nobody can listen: TLS, or a socket of this machine.
    pub private: bool,
    /// What ties SCRAM to the TLS channel, where there is one.
    pub hash: Option<Vec<u8>>,
    /// Nothing but a bound SCRAM will do.
    pub must_bind: bool,
}

/// Brings a fresh connection to the point where it takes queries.
pub async fn login(pipe: Box<dyn Duplex>, login: &Login<'_>) -> Result<Wire, EngineError> {
    let mut wire = Wire::new(pipe);
    let settings = login.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let parameters = [("user", login.user), ("database", login.database)].into_iter().chain(settings);
    frontend::startup_message(parameters, wire.out()).map_err(|error| error::from_io(DOING, &error))?;
    wire.flush().await.map_err(|fault| fault.doing(DOING))?;
    authenticate(&mut wire, login).await?;
    loop {
        let frame = next(&mut wire).await?;
        match frame.tag {
            b'K' => wire.pid = frame.body.first_chunk().map_or(0, |pid| i32::from_be_bytes(*pid)),
            b'S' => wire.keep_parameter(&frame.body),
            b'Z' => return Ok(wire),
            _ => {}
        }
    }
}

/// The next message that belongs to the start of a session.
async fn next(wire: &mut Wire) -> Result<Frame, EngineError> {
    loop {
        let frame = match wire.frame_of(b"RESNKvZ", FRAME_BYTES_MAX).await {
            Ok(frame) => frame,
            Err(Fault::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(foreign(&error.to_string()));
            }
            Err(fault) => return Err(fault.doing(DOING)),
        };
        match frame.tag {
            b'N' => {}
            b'E' => return Err(refused(&ServerError::parse(&frame.body))),
            _ => return Ok(frame),
        }
    }
}

fn foreign(what: &str) -> EngineError {
    EngineError::new(Cause::NotFound, DOING, format!("not a PostgreSQL server: {}", escape(what)))
        .contract("E314")
        .hint("check host and port")
}

fn refused(error: &ServerError) -> EngineError {
    let made = error::engine_error(DOING, error);
    match error.code.as_str() {
        // Some look-alikes answer without a code.
        "" => foreign("its error message has no code"),
        _ => made,
    }
}

async fn authenticate(wire: &mut Wire, login: &Login<'_>) -> Result<(), EngineError> {
    let mut bound = false;
    loop {
        let frame = next(wire).await?;
        if frame.tag != b'R' {
            return Err(foreign("it skipped the authentication"));
        }
        let Some((kind, body)) = frame.body.split_first_chunk::<4>() else {
            return Err(foreign("it sent half a message"));
        };
        match u32::from_be_bytes(*kind) {
            3 | 5 if login.must_bind => return Err(unbound()),
            0 if login.must_bind && !bound => return Err(unbound()),
            0 => return Ok(()),
            3 => clear_text(wire, login).await?,
            5 => md5(wire, login, body).await?,
            10 => {
                scram(wire, login, body).await?;
                bound = true;
            }
            2 | 7 | 8 | 9 => return Err(unsupported("Kerberos, GSSAPI or SSPI")),
            _ => return Err(unsupported("a method that Towpath does not know")),
        }
    }
}

fn unsupported(method: &str) -> EngineError {
    EngineError::new(Cause::Authentication, DOING, format!("the server asks for {method}"))
        .hint("let this role log in by password (scram-sha-256) in pg_hba.conf")
}

fn unbound() -> EngineError {
    EngineError::new(Cause::Authentication, DOING, "the server does not bind the login to the TLS channel")
        .hint("channel_binding=require asks for TLS and scram-sha-256")
}

fn password<'a>(login: &Login<'a>) -> Result<&'a str, EngineError> {
    login.password.ok_or_else(|| {
        EngineError::new(Cause::Authentication, DOING, "the server asks for a password and the URL has none")
            .hint(
                "put it into the URL through an environment variable: postgres://USER:${DB_PASSWORD}@HOST/DB",
            )
    })
}

async fn clear_text(wire: &mut Wire, login: &Login<'_>) -> Result<(), EngineError> {
    let password = password(login)?;
    if !login.private {
        let message = "the server asks for the password in clear text and the connection is not encrypted";
        return Err(EngineError::new(Cause::Authentication, DOING, message)
            .hint("use TLS (leave sslmode out), or set the server to scram-sha-256"));
    }
    send_password(wire, password.as_bytes()).await
}

async fn md5(wire: &mut Wire, login: &Login<'_>, body: &[u8]) -> Result<(), EngineError> {
    let password = password(login)?;
    let Some(salt) = body.first_chunk() else { return Err(foreign("it sent half a message")) };
    let hash = md5_hash(login.user.as_bytes(), password.as_bytes(), *salt);
    send_password(wire, hash.as_bytes()).await
}

async fn send_password(wire: &mut Wire, password: &[u8]) -> Result<(), EngineError> {
    frontend::password_message(password, wire.out()).map_err(|error| error::from_io(DOING, &error))?;
    wire.flush().await.map_err(|fault| fault.doing(DOING))
}

/// SCRAM-SHA-256, bound to the TLS channel where server and certificate allow it.
async fn scram(wire: &mut Wire, login: &Login<'_>, mechanisms: &[u8]) -> Result<(), EngineError> {
    let password = password(login)?;
    let offered = |name: &str| mechanisms.split(|byte| *byte == 0).any(|part| part == name.as_bytes());
    let (binding, mechanism) = match (&login.hash, offered(SCRAM_SHA_256_PLUS), offered(SCRAM_SHA_256)) {
        (Some(hash), true, _) => (ChannelBinding::tls_server_end_point(hash.clone()), SCRAM_SHA_256_PLUS),
        _ if login.must_bind => return Err(unbound()),
        (Some(_), false, true) => (ChannelBinding::unrequested(), SCRAM_SHA_256),
        (None, _, true) => (ChannelBinding::unsupported(), SCRAM_SHA_256),
        _ => return Err(unsupported("a SASL method other than SCRAM-SHA-256")),
    };
    let io = |error: std::io::Error| error::from_io(DOING, &error);
    let mut scram = ScramSha256::new(password.as_bytes(), binding);
    frontend::sasl_initial_response(mechanism, scram.message(), wire.out()).map_err(io)?;
    wire.flush().await.map_err(|fault| fault.doing(DOING))?;
    let first = sasl_step(wire, 11).await?;
    scram.update(&first).map_err(|_| foreign("its SCRAM answer is wrong"))?;
    frontend::sasl_response(scram.message(), wire.out()).map_err(io)?;
    wire.flush().await.map_err(|fault| fault.doing(DOING))?;
    let last = sasl_step(wire, 12).await?;
    scram.finish(&last).map_err(|_| {
        EngineError::new(
            Cause::Authentication,
            DOING,
            "the server could not prove that it knows the password",
        )
        .hint("somebody may be between you and the server: check host and TLS")
    })
}

async fn sasl_step(wire: &mut Wire, wanted: u32) -> Result<Vec<u8>, EngineError> {
    let frame = next(wire).await?;
    match frame.body.split_first_chunk::<4>() {
        Some((kind, body)) if frame.tag == b'R' && u32::from_be_bytes(*kind) == wanted => Ok(body.to_vec()),
        _ => Err(foreign("it broke off the SCRAM exchange")),
    }
}
