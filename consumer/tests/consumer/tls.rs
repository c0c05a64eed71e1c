//! TLS to the database, by libpq's words for it.

use kubeletstats_consumer::database::{Address, Store};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::runtime::Builder;

use crate::{Outcome, postgres::Cluster, scene::Stage};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("an authority")
}

pub fn sslmodes(_: &Stage) -> Outcome {
    let (ours, other) = (authority(), authority());
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &ours).expect("signed");

    let mut cluster = Cluster::start("")?;
    let files = [
        cluster.write("server.crt", &certificate.pem()),
        cluster.write("server.key", &key.serialize_pem()),
        cluster.write("ca.crt", &ours.pem()),
        cluster.write("other.crt", &other.pem()),
    ];
    let [certificate, key, ca, other] = files.map(|path| path.display().to_string());
    let (port, name) = (cluster.port(), cluster.database().name().to_owned());
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let connect = |host: &str, options: &str| {
        let password = crate::postgres::PASSWORD;
        let url = format!("postgresql://metrics:{password}@{host}:{port}/{name}{options}");
        let address = Address::parse(&url, None).expect("an address");
        runtime.block_on(Store::connect(&address))
    };
    let error = connect("localhost", "?sslmode=require")
        .err()
        .expect("no TLS there yet");
    assert!(error.contains("server does not support TLS"), "{error}");
    assert!(connect("localhost", "").is_ok());
    let error = connect("localhost", "?channel_binding=require");
    let error = error.err().expect("nothing to bind to");
    assert!(error.contains("channel binding"), "{error}");

    cluster.stop_immediately();
    cluster.append(&format!(
        "ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n"
    ));
    cluster.run();
    let database = cluster.named(&name);
    let encrypted = |host: &str, options: &str| {
        let _store = connect(host, options).unwrap_or_else(|error| panic!("{options}: {error}"));
        let rows = database.rows(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name = 'metrics-consumer' ORDER BY backend_start DESC LIMIT 1",
        );
        rows == ["t"]
    };
    assert!(!encrypted("localhost", "?sslmode=disable"));
    assert!(encrypted("localhost", ""));
    assert!(encrypted("127.0.0.1", "?sslmode=require"));
    assert!(encrypted(
        "127.0.0.1",
        &format!("?sslmode=verify-ca&sslrootcert={ca}")
    ));
    assert!(encrypted(
        "localhost",
        &format!("?sslmode=verify-full&sslrootcert={ca}")
    ));
    assert!(encrypted("localhost", "?channel_binding=require"));

    let mut saw = String::new();
    for (host, options, expected) in [
        (
            "127.0.0.1",
            format!("?sslmode=verify-full&sslrootcert={ca}"),
            "not valid for name",
        ),
        (
            "localhost",
            format!("?sslmode=verify-ca&sslrootcert={other}"),
            "invalid peer certificate: ",
        ),
        (
            "localhost",
            format!("?sslmode=require&sslrootcert={other}"),
            "invalid peer certificate: ",
        ),
        (
            "localhost",
            "?sslmode=verify-full".to_owned(),
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "localhost",
            "?sslmode=verify-ca&sslrootcert=/no/such.pem".to_owned(),
            "cannot read sslrootcert /no/such.pem",
        ),
    ] {
        let error = connect(host, &options)
            .err()
            .unwrap_or_else(|| panic!("{options}: trusted"));
        assert!(error.contains(expected), "{options}: {error}");
        saw.push_str(&format!("  {error}\n"));
    }
    Ok(saw)
}
