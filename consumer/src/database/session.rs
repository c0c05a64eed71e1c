//! One connection to a server, on which every wait has a limit: one that takes TCP connections
//! and says nothing would otherwise be waited for for ever.

use std::{fmt::Display, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, Config, Error, NoTls, Socket, config::SslMode, tls::MakeTlsConnect};

use super::{address::Address, tls};

/// Not to be used again once something has failed.
pub struct Session {
    client: Client,
    /// Moves the bytes, and ends with the reason why there are no more, which is asked for once.
    connection: Option<JoinHandle<Result<(), Error>>>,
}

/// A server that does not answer is not waited for, and ends what it is doing.
impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
    }
}

#[derive(Debug)]
pub enum Failure {
    /// The server's answer, or the driver's reason for there being none.
    Driver(Error),
    /// No answer in time, or nothing to connect with.
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl Session {
    /// To the first host that lets us in. Each has its time: behind one that is silent there
    /// may be one that is not.
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

    /// Work with the server that has to be done in this time.
    pub async fn run<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let limited = async {
            match work(&self.client).await {
                // That it is closed is all the client knows.
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
