//! One connection to a server, blocking, in which nothing is waited for without a limit: what
//! takes TCP connections and then says nothing would otherwise be waited for for ever.

use super::address::Address;
use super::tls;
use std::fmt;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Error, NoTls, Socket};

/// A connection that is given up by being dropped: whatever failed, it is not used again.
pub struct Session {
    client: Client,
    /// Moves the bytes, and ends with the reason why there are no more.
    connection: JoinHandle<Result<(), Error>>,
    runtime: Runtime,
}

#[derive(Debug)]
pub enum Failure {
    /// The server's answer, or the driver's reason for there being none.
    Driver(Error),
    /// No answer in time, or nothing to wait with.
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl Session {
    pub fn open(address: &Address) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::Other(format!("no runtime to wait with: {error}")))?;
        match runtime.block_on(open(address)) {
            Ok((client, connection)) => Ok(Self {
                client,
                connection,
                runtime,
            }),
            Err(failure) => {
                // The look-up of a name cannot be broken off: it is left to itself.
                runtime.shutdown_background();
                Err(failure)
            }
        }
    }

    /// Work with the server that has to be done in this time.
    pub fn run<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let (client, connection) = (&self.client, &mut self.connection);
        let limited = async {
            match work(client).await {
                // That it is closed is all the client knows.
                Err(error) if error.is_closed() => match connection.await {
                    Ok(Err(reason)) => Err(reason),
                    _ => Err(error),
                },
                result => result,
            }
        };
        let done = self
            .runtime
            .block_on(async { timeout(limit, limited).await });
        Ok(done.map_err(|_| silence("to a statement", limit))??)
    }
}

/// The first host that lets us in. Each has its time: behind one that is silent there may be
/// one that is not.
async fn open(address: &Address) -> Result<Open, Failure> {
    let limit = address.connect_limit();
    let mut failure = Failure::Other("no host to connect to".to_owned());
    for config in address.hosts() {
        failure = match timeout(limit, open_one(address, &config)).await {
            Ok(Ok(open)) => return Ok(open),
            Ok(Err(failure)) => failure,
            Err(_) => silence("when connecting", limit),
        };
    }
    Err(failure)
}

type Open = (Client, JoinHandle<Result<(), Error>>);

async fn open_one(address: &Address, config: &Config) -> Result<Open, Failure> {
    match config.get_ssl_mode() {
        SslMode::Disable => start(config, NoTls).await,
        _ => {
            let connector = tls::connector(address.check()).map_err(Failure::Other)?;
            start(config, connector).await
        }
    }
}

async fn start<T>(config: &Config, tls: T) -> Result<Open, Failure>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    Ok((client, tokio::spawn(connection)))
}

fn silence(when: impl fmt::Display, limit: Duration) -> Failure {
    Failure::Other(format!("no answer {when} for {} s", limit.as_secs()))
}
