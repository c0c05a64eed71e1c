//! Owns the settings of a simulated kubelet before it runs.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use crate::{
    access::Access,
    clock::now_ms,
    fault::Fault,
    files::Folder,
    handle::SimKubelet,
    node::{USUAL_PERIOD_MS, period_ms},
    population::{Kind, populate},
    random::unique,
    server::{Server, Shared},
    tls::{Authority, Tls},
};

/// Settings. Each has a default. [`start`](Self::start) applies them.
#[derive(Debug, Clone)]
pub struct SimKubeletBuilder {
    pods: Option<usize>,
    kind: Kind,
    sample_period: Duration,
    whole_seconds: bool,
    burns: Vec<(String, u64)>,
    access: Access,
    client_required: bool,
    plain_http: bool,
    clock_ahead_ms: i64,
    server_names: Option<Vec<String>>,
    listen: SocketAddr,
    dir: Option<PathBuf>,
    replay: Vec<Vec<u8>>,
    fault: Fault,
}

impl Default for SimKubeletBuilder {
    fn default() -> Self {
        Self {
            pods: None,
            kind: Kind::default(),
            sample_period: Duration::from_millis(USUAL_PERIOD_MS),
            whole_seconds: false,
            burns: Vec::new(),
            access: Access::default(),
            client_required: false,
            plain_http: false,
            clock_ahead_ms: 0,
            server_names: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            dir: None,
            replay: Vec::new(),
            fault: Fault::None,
        }
    }
}

impl SimKubeletBuilder {
    /// How many pods the node has. The default is the seven of a captured reply; more are
    /// generated. `default/log-generator-a-vm` and `default/log-generator-b-vm` come first.
    pub fn pods(mut self, count: usize) -> Self {
        self.pods = Some(count);
        self
    }

    /// Everything that a kubelet with pressure stalls and swap writes. All of it changes, at the
    /// rates that [`SimKubelet::truth`] and [`SimKubelet::node_truth`] return. Unless
    /// [`pods`](Self::pods) sets another number, there are eight more pods in addition to the
    /// captured seven: one of each kind of owner, with a claimed volume and an ephemeral
    /// container.
    pub fn full(mut self, full: bool) -> Self {
        self.kind.full = full;
        self
    }

    /// No interface of the node is called `eth0`. Then the network of the node, and that of pods
    /// on the host network, has only a list.
    pub fn without_eth0(mut self, without: bool) -> Self {
        self.kind.without_eth0 = without;
        self
    }

    /// How often each container gets a new sample, on average; default 15 s. Times are rounded
    /// down to whole seconds. With a period below 1.5 s, which no kubelet has, they are rounded
    /// down to milliseconds.
    pub fn sample_period(mut self, period: Duration) -> Self {
        self.sample_period = period;
        self
    }

    /// The times of samples are rounded down to whole seconds with any period, so two samples can
    /// have the same time.
    pub fn whole_seconds(mut self) -> Self {
        self.whole_seconds = true;
        self
    }

    /// Every container of that pod (`namespace/name`) uses exactly this many thousandths of a
    /// core.
    pub fn burn(mut self, pod: &str, millicores: u64) -> Self {
        self.burns.push((pod.to_owned(), millicores));
        self
    }

    /// A bearer token that is accepted; may be given several times. Without a token and without a
    /// client CA, anybody has access.
    pub fn token(mut self, token: &str) -> Self {
        self.access.tokens.push(token.to_owned());
        self
    }

    /// A bearer token whose owner lacks the right. The reply is 403.
    pub fn forbidden_token(mut self, token: &str) -> Self {
        self.access.forbidden.push(token.to_owned());
        self
    }

    /// Nobody has the right to `/pods`, until [`SimKubelet::allow_pods`] grants it.
    pub fn pods_forbidden(mut self, forbidden: bool) -> Self {
        self.access.pods_forbidden = forbidden;
        self
    }

    /// Speak HTTP without TLS.
    pub fn plain_http(mut self, plain: bool) -> Self {
        self.plain_http = plain;
        self
    }

    /// The clock is this many milliseconds ahead of this machine's, or behind it if negative.
    pub fn clock_ahead_ms(mut self, ms: i64) -> Self {
        self.clock_ahead_ms = ms;
        self
    }

    /// Names in the serving certificate; default `vm`, `localhost` and 127.0.0.1.
    pub fn server_names(mut self, names: &[&str]) -> Self {
        self.server_names = Some(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// Asks for a client certificate, and accepts one of the client CA instead of a token.
    pub fn client_auth_ca(mut self, enabled: bool) -> Self {
        self.access.client_auth = enabled;
        self
    }

    /// Does the same, and ends the handshake with a client that has no certificate. No kubelet
    /// does that, but a proxy in front of one may.
    pub fn client_auth_required(mut self, required: bool) -> Self {
        self.access.client_auth = required;
        self.client_required = required;
        self
    }

    /// The port on 127.0.0.1; default 0, any free one.
    pub fn port(mut self, port: u16) -> Self {
        self.listen.set_port(port);
        self
    }

    /// The address to listen on, port included.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The folder for the files of clients. The default is a temporary folder that is removed at
    /// the end.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Serves exactly these bodies one after another, and the last one repeatedly.
    pub fn replay(mut self, bodies: Vec<Vec<u8>>) -> Self {
        self.replay = bodies;
        self
    }

    /// A fault from the first connection on.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// Writes the files, binds the port and serves.
    ///
    /// # Errors
    /// It fails if the port is in use, the folder cannot be written, a name cannot be in a
    /// certificate, or a burn is for a pod that is not on the node.
    pub fn start(self) -> io::Result<SimKubelet> {
        let now = now_ms().saturating_add_signed(self.clock_ahead_ms);
        let mut node = populate(self.pods, self.kind, period_ms(self.sample_period), now);
        node.whole_seconds |= self.whole_seconds;
        for (pod, millicores) in &self.burns {
            let mut found = node.find(pod);
            if found.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("no pod {pod:?} on the node to set a burn for"),
                ));
            }
            for container in found.iter_mut().flat_map(|pod| &mut pod.containers) {
                container.burn = millicores * 1_000_000;
            }
        }
        node.changed(now);
        let client_authority = Authority::new("client-ca")?;
        let gate = self.access.client_auth.then_some(&client_authority);
        let tls = Tls::new(self.certificate_names(), gate, self.client_required)?;
        let folder = Folder::open(self.dir)?;
        folder.write("ca.crt", &tls.authority.pem)?;
        folder.write("kubelet.crt", &tls.serving_chain_pem())?;
        let token = match self.access.tokens.first() {
            Some(token) => token.clone(),
            None => format!("nobody-asks-{:016x}", unique()),
        };
        folder.write("token", &token)?;
        let client = client_authority.client("scraper")?;
        folder.write("client.crt", &client.certificate_pem)?;
        folder.write("client.key", &client.key_pem)?;

        let listener = TcpListener::bind(self.listen)?;
        let address = listener.local_addr()?;
        let mut shared = Shared::new(node, self.access, tls);
        shared.plain_http = self.plain_http;
        shared.clock_ahead_ms = self.clock_ahead_ms;
        shared.replay = self.replay;
        let running = Server::start(listener, shared)?;
        let handle = SimKubelet::new(running, address, folder, client_authority);
        handle.set_fault(self.fault);
        Ok(handle)
    }

    /// Does the same, but panics on an error. For tests.
    pub fn started(self) -> SimKubelet {
        self.start().expect("a kubelet on loopback")
    }

    fn certificate_names(&self) -> Vec<String> {
        let usual = || ["vm", "localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        self.server_names.clone().unwrap_or_else(usual)
    }
}
