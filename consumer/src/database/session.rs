//! One connection to a server. Every wait on it has a limit, because a server may accept TCP
//! connections and never answer.

use std::{fmt::Display, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, Config, Error, NoTls, Socket, config::SslMode, tls::MakeTlsConnect};

use super::{address::Address, tls};

/// Must not be used again after an error.
pub struct Session {
    client: Client,
    /// Sends and receives the bytes. It ends with the reason why the connection ended, which is
    /// read only once.
    connection: Option<JoinHandle<Result<(), Error>>>,
}

/// A drop does not wait for a server that does not answer. The server then ends its work.
impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
    }
}

#[derive(Debug)]
pub enum Failure {
    /// The server's answer, or the driver's reason why there is none.
    Driver(Error),
    /// There was no answer in time, or the connection could not be prepared.
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl Session {
    /// Connects to the first host that accepts the connection. Each host has its own time limit,
    /// because the host after a silent one may answer.
    pub async fn open(address: &Address) -> Result<Self, Failure> {
        let limit = address.connect_limit();
        let mut failure = Failure::Other("no host to connect to".to_owned());
        for config in address.hosts() {
            failure = match timeout(limit, open(address, config)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(failure)) => failure,
                Err(_) => no_answer("when connecting", limit),
            };
        }
        Err(failure)
    }

    /// Does `work` with the server within `limit`.
    pub async fn run<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let limited = async {
            match work(&self.client).await {
                // The client's error only says that the connection is closed. The connection has
                // the reason.
                Err(error) if error.is_closed() => match self.connection.take() {
                    Some(connection) => connection.await.unwrap_or(Ok(())).and(Err(error)),
                    None => Err(error),
                },
                result => result,
            }
        };
        let done = timeout(limit, limited).await;
        Ok(done.map_err(|_| no_answer("to a statement", limit))??)
    }
}

async fn open(address: &Address, config: &Config) -> Result<Session, Failure> {
    match config.get_ssl_mode() {
        SslMode::Disable => start(config, NoTls).await,
        _ => {
            let connector = tls::connector(address.check()).map_err(Failure::Other)?;
            start(config, connector).await
        }
    }
}

async fn start<T>(config: &Config, tls: T) -> Result<Session, Failure>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    let connection = Some(tokio::spawn(connection));
    Ok(Session { client, connection })
}

fn no_answer(when: impl Display, limit: Duration) -> Failure {
    Failure::Other(format!("no answer {when} for {} s", limit.as_secs()))
}
