//! The address of the database: a libpq URL or `key=value` pairs. The driver supports most
//! options. The others, which are the stricter `sslmode`s and `sslrootcert`, are removed
//! before the driver sees them.

mod options;

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::config::{Config, Host, LoadBalanceHosts, SslMode};

use self::options::Options;
use super::tls::Check;

/// The limit for TCP to one address, and the limit for the whole connection to one host:
/// look-up of its name, TCP to each of its addresses, TLS, and the password. `connect_timeout`
/// sets both.
const TCP: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(30);
/// A server that does not answer for this time is given up.
const SILENCE: Duration = Duration::from_secs(30);

const EXPECTED: &str = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE \
    or host=HOST user=USER dbname=DATABASE";

/// A parsed address. It never shows its password.
#[derive(Clone)]
pub struct Address {
    /// The options with all hosts.
    config: Config,
    /// The options for each host, in the order in which the hosts are tried.
    hosts: Vec<Config>,
    check: Check,
    connect_limit: Duration,
}

impl Address {
    /// `password` is used if the address has none.
    pub fn parse(text: &str, password: Option<String>) -> Result<Self, String> {
        let mut options = Options::parse(text).ok_or(EXPECTED)?;
        let root = options.take("sslrootcert").filter(|file| file != "system");
        let root = root.map(PathBuf::from);
        let mode = options.take("sslmode");
        let (driver_mode, check) = match mode.as_deref() {
            Some("disable") => (SslMode::Disable, Check::Nothing),
            None | Some("allow" | "prefer") => (SslMode::Prefer, Check::Nothing),
            // As in libpq, `require` checks the certificate if there is a file for the check.
            Some("require") if root.is_some() => (SslMode::Require, Check::Issuer(root)),
            Some("require") => (SslMode::Require, Check::Nothing),
            Some("verify-ca") => (SslMode::Require, Check::Issuer(root)),
            Some("verify-full") => (SslMode::Require, Check::IssuerAndName(root)),
            Some(other) => {
                return Err(format!(
                    "sslmode {other}: expected disable, prefer, require, verify-ca or verify-full"
                ));
            }
        };
        if let Some(name) = options.not_supported() {
            return Err(format!("option {name} is not supported"));
        }
        let parse = |options: &Options| {
            // The driver's error may quote the option that it does not know.
            let mut config = Config::from_str(&options.to_text()).map_err(|_| EXPECTED)?;
            let connect_limit = config.get_connect_timeout().copied();
            config.connect_timeout(connect_limit.unwrap_or(TCP));
            config.ssl_mode(driver_mode);
            if let (None, Some(password)) = (config.get_password(), &password) {
                config.password(password);
            }
            if config.get_application_name().is_none() {
                config.application_name("metrics-consumer");
            }
            config.keepalives_idle(SILENCE).tcp_user_timeout(SILENCE);
            Ok::<_, String>((config, connect_limit.unwrap_or(CONNECT)))
        };
        let (config, connect_limit) = parse(&options)?;
        if config.get_hosts().is_empty() {
            return Err(EXPECTED.to_owned());
        }
        options.remove_hosts();
        Ok(Self {
            hosts: each_host(&config, &parse(&options)?.0),
            config,
            check,
            connect_limit,
        })
    }

    pub(super) fn check(&self) -> &Check {
        &self.check
    }

    /// How long a connection to one host may take.
    pub(super) fn connect_limit(&self) -> Duration {
        self.connect_limit
    }

    /// The options for each host. If a host accepts connections but does not answer, the
    /// driver does not try the next host. Therefore it gets one host at a time.
    pub(super) fn hosts(&self) -> &[Config] {
        &self.hosts
    }
}

/// Splits the hosts, with two exceptions. Numbers of hosts, ports and addresses that do not
/// match are left to the driver, which refuses them. A random order is left to the driver too:
/// then one silent host can use up the time of all, but the next attempt may begin with
/// another one.
fn each_host(config: &Config, without_hosts: &Config) -> Vec<Config> {
    let (hosts, ports) = (config.get_hosts(), config.get_ports());
    let addresses = config.get_hostaddrs();
    let fits = |count: usize, least: usize| count <= least || count == hosts.len();
    let is_random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
    if is_random || !fits(ports.len(), 1) || !fits(addresses.len(), 0) {
        return vec![config.clone()];
    }
    let of_host = |(index, host): (usize, &Host)| {
        let mut one = without_hosts.clone();
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(folder) => one.host_path(folder),
        };
        if let Some(address) = addresses.get(index) {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(index).or(ports.first()) {
            one.port(*port);
        }
        one
    };
    hosts.iter().enumerate().map(of_host).collect()
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.config.get_user().unwrap_or_default();
        let name = self.config.get_dbname().unwrap_or(user);
        write!(out, "database {name} at ")?;
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).unwrap_or(&5432);
            let comma = if index > 0 { "," } else { "" };
            match host {
                Host::Tcp(host) => write!(out, "{comma}{host}:{port}")?,
                Host::Unix(folder) => write!(out, "{comma}{}:{port}", folder.display())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text, None).expect("an address")
    }

    #[test]
    fn both_forms_say_the_same() {
        let root = Some(PathBuf::from("/etc/my ca.pem"));
        for text in [
            "postgresql://me:p%40ss@db.example:6432/metrics?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem",
            "host=db.example port = 6432 user=me password='p@ss' dbname=metrics sslmode=verify-full sslrootcert='/etc/my ca.pem'",
        ] {
            let address = parse(text);
            assert_eq!(address.to_string(), "database metrics at db.example:6432");
            assert_eq!(address.config.get_password(), Some(&b"p@ss"[..]));
            assert_eq!(address.config.get_user(), Some("me"));
            assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
            assert_eq!(address.check, Check::IssuerAndName(root.clone()));
        }
    }

    #[test]
    fn modes_are_those_of_libpq() {
        let of = |mode: &str| {
            let address = parse(&format!("postgres://h/db{mode}"));
            (address.config.get_ssl_mode(), address.check)
        };
        let root = Some(PathBuf::from("/ca"));
        assert_eq!(of(""), (SslMode::Prefer, Check::Nothing));
        assert_eq!(of("?sslmode=disable"), (SslMode::Disable, Check::Nothing));
        assert_eq!(of("?sslmode=require"), (SslMode::Require, Check::Nothing));
        let expected = (SslMode::Require, Check::Issuer(root));
        assert_eq!(of("?sslrootcert=/ca&sslmode=require"), expected);
        assert_eq!(of("?sslmode=verify-ca&sslrootcert=/ca"), expected);
        let expected = (SslMode::Require, Check::IssuerAndName(None));
        assert_eq!(of("?sslmode=verify-full&sslrootcert=system"), expected);
        let error = Address::parse("postgres://h/db?sslmode=on", None).expect_err("no mode");
        assert!(
            error.starts_with("sslmode on: expected disable, "),
            "{error}"
        );
    }

    #[test]
    fn a_socket_and_a_password_from_outside() {
        let address =
            Address::parse("host=/run/pg user=u", Some("x y".to_owned())).expect("an address");
        assert_eq!(address.to_string(), "database u at /run/pg:5432");
        assert_eq!(address.config.get_password(), Some(&b"x y"[..]));
        let address = parse(r"host=h user=u password='it\'s a \\ b' options='-c work_mem=1MB'");
        assert_eq!(address.config.get_password(), Some(&br"it's a \ b"[..]));
        assert_eq!(address.config.get_options(), Some("-c work_mem=1MB"));
        assert!(Address::parse("dbname=x", None).is_err(), "no host");
    }

    #[test]
    fn each_host_is_tried_with_all_the_options() {
        let options = "user=u password=p dbname=d application_name=a connect_timeout=3 \
            keepalives=1 keepalives_interval=5 keepalives_retries=2 options='-c a=b' \
            channel_binding=disable sslmode=require target_session_attrs=read-write";
        let both = parse(&format!("host=a,/run/pg port=1,2 {options}"));
        let of = |host: &str| vec![parse(&format!("{host} {options}")).config];
        let expected = [of("host=a port=1"), of("host=/run/pg port=2")].concat();
        assert_eq!(both.hosts(), expected);
        let url = parse("postgres://u:p%40w@a:1,b/d?application_name=x");
        let of = |host: &str| {
            let pairs = format!("{host} user=u password=p@w dbname=d application_name=x");
            vec![parse(&pairs).config]
        };
        let expected = [of("host=a port=1"), of("host=b port=5432")].concat();
        assert_eq!(url.hosts(), expected);
        assert_eq!(both.connect_limit(), Duration::from_secs(3));
        assert_eq!(parse("host=a").connect_limit(), CONNECT);
        let shuffled = parse("host=a,b load_balance_hosts=random");
        assert_eq!(shuffled.hosts(), std::slice::from_ref(&shuffled.config));
    }
}
