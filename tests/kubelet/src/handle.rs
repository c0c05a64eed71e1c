//! Owns the handle of a running simulated kubelet: where it is, what it saw, and what to
//! change about it while it runs.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    builder::SimKubeletBuilder,
    fault::{Fault, Stage},
    files::Folder,
    journal::{Journal, RecordedRequest},
    listing::{Owner, mirror_uid, pending_item},
    node::{NodeTruth, Truth},
    podlist::{Item, Metadata},
    population::{copy, new_pod, started_now},
    server::{Server, Shared},
    sync::lock,
    tls::Authority,
};

/// A running simulated kubelet; dropping it stops it and removes its temporary folder.
pub struct SimKubelet {
    server: Server,
    address: SocketAddr,
    folder: Folder,
    client_authority: Authority,
}

impl SimKubelet {
    pub fn builder() -> SimKubeletBuilder {
        SimKubeletBuilder::default()
    }

    pub(crate) fn new(
        server: Server,
        address: SocketAddr,
        folder: Folder,
        client_authority: Authority,
    ) -> Self {
        Self {
            server,
            address,
            folder,
            client_authority,
        }
    }

    fn shared(&self) -> &Shared {
        &self.server.shared
    }

    fn journal(&self) -> &Journal {
        &self.server.shared.journal
    }

    /// `https://127.0.0.1:PORT`, or `http://` without TLS.
    pub fn url(&self) -> String {
        let scheme = if self.shared().plain_http {
            "http"
        } else {
            "https"
        };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        format!("{scheme}://{address}")
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The folder of the files below.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The CA of the serving certificate, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Serving certificate and its CA, PEM, as `kubelet.crt` of a self-signed kubelet.
    pub fn chain_file(&self) -> PathBuf {
        self.folder.join("kubelet.crt")
    }

    /// The first accepted token; without any, a token nobody asks for.
    pub fn token_file(&self) -> PathBuf {
        self.folder.join("token")
    }

    pub fn client_cert_file(&self) -> PathBuf {
        self.folder.join("client.crt")
    }

    pub fn client_key_file(&self) -> PathBuf {
        self.folder.join("client.key")
    }

    /// What a client needs: the URL, the file of the CA, and the token's.
    pub fn access(&self) -> [String; 3] {
        let files = [self.ca_file(), self.token_file()];
        let [ca, token] = files.map(|file| file.display().to_string());
        [self.url(), ca, token]
    }

    /// Another certificate of the client CA: its files, certificate and key.
    pub fn issue_client_certificate(&self, name: &str) -> io::Result<(PathBuf, PathBuf)> {
        let client = self.client_authority.client(name)?;
        Ok((
            self.folder
                .write(&format!("{name}.crt"), &client.certificate_pem)?,
            self.folder.write(&format!("{name}.key"), &client.key_pem)?,
        ))
    }

    /// Requests that arrived whole, answered or not.
    pub fn requests(&self) -> u64 {
        self.journal().requests()
    }

    /// Replies that were sent whole.
    pub fn replies(&self) -> u64 {
        self.journal().replies.load(Ordering::Relaxed)
    }

    /// When the last byte of the latest reply was sent.
    pub fn last_reply(&self) -> Option<Instant> {
        self.journal().last_reply()
    }

    pub fn connections(&self) -> u64 {
        self.journal().connections.load(Ordering::Relaxed)
    }

    /// Completed TLS handshakes.
    pub fn handshakes(&self) -> u64 {
        self.journal().handshakes.load(Ordering::Relaxed)
    }

    /// The latest requests, oldest first, 10,000 at most.
    pub fn recorded_requests(&self) -> Vec<RecordedRequest> {
        self.journal().latest()
    }

    /// True once `count` requests have arrived since the start, false at the deadline.
    pub fn wait_for_requests(&self, count: u64, deadline: Duration) -> bool {
        self.journal().wait_for_requests(count, deadline)
    }

    /// Requests for a path such as `/pods`, through the API server's proxy or not.
    pub fn requests_of(&self, path: &str) -> u64 {
        self.journal().requests_of(path)
    }

    /// True once `count` requests for that path have arrived since the start, false at the
    /// deadline.
    pub fn wait_for_requests_of(&self, path: &str, count: u64, deadline: Duration) -> bool {
        self.journal().wait_for_requests_of(path, count, deadline)
    }

    /// From now on, on every path but `/pods`. A fault of connections is one of all paths,
    /// and cuts those there are, to be noticed at once.
    pub fn set_fault(&self, fault: Fault) {
        let cut = fault.stage() == Stage::Connection;
        lock(&self.shared().injection).set(fault);
        if cut {
            self.close_connections();
        }
    }

    /// The same for `/pods` alone, which the fault above leaves as it is.
    ///
    /// # Panics
    /// With a fault of connections: those cannot be told apart by path.
    pub fn set_pods_fault(&self, fault: Fault) {
        assert_eq!(fault.stage(), Stage::Request, "{fault} has no path");
        lock(&self.shared().pods_injection).set(fault);
    }

    /// Connections that hang go on hanging; new ones are as they should be.
    pub fn clear_fault(&self) {
        self.set_fault(Fault::None);
    }

    /// Cuts every connection there is.
    pub fn close_connections(&self) {
        self.shared().close_connections();
    }

    /// Accepts these tokens and no others; the token file stays as it is.
    pub fn set_tokens(&self, tokens: &[&str]) {
        lock(&self.shared().access).tokens =
            tokens.iter().map(|token| (*token).to_owned()).collect();
    }

    /// Whether tokens are looked at. Without, every request but one with a known client
    /// certificate is anonymous, and anonymous is nobody with rights.
    pub fn set_webhook(&self, enabled: bool) {
        lock(&self.shared().access).no_webhook = !enabled;
    }

    /// Whether anybody has the right to `/pods`.
    pub fn allow_pods(&self, allowed: bool) {
        lock(&self.shared().access).pods_forbidden = !allowed;
    }

    /// Whether the kubelet tells the rights to `/pods` from those to everything, as since
    /// 1.33; only the words of its refusal differ.
    pub fn set_fine_rights(&self, fine: bool) {
        lock(&self.shared().access).coarse_rights = !fine;
    }

    /// Answers `/pods` with this body, or again with the node's.
    pub fn set_pods_body(&self, body: Option<Vec<u8>>) {
        *lock(&self.shared().pods_body) = body;
    }

    /// Whether the API server answers when it is asked about a token or a right.
    pub fn set_api_server_away(&self, away: bool) {
        lock(&self.shared().access).server_away = away;
    }

    /// Replaces the token file at once; what is accepted stays as it is.
    pub fn write_token_file(&self, token: &str) -> io::Result<()> {
        self.folder.write("token", token).map(|_| ())
    }

    /// A new serving certificate of the same CA, for connections from now on.
    pub fn rotate_certificate(&self) -> io::Result<()> {
        self.rotate(false)
    }

    /// A new CA as well, written to the CA file, as a self-signed kubelet gets with new files.
    pub fn rotate_ca(&self) -> io::Result<()> {
        self.rotate(true)
    }

    /// Shows this certificate from the next connection on, and proves it with this key;
    /// both PEM. The files for clients stay as they are.
    pub fn serve_certificate(&self, chain: &str, key: &str) -> io::Result<()> {
        lock(&self.shared().tls).serve(chain, key)
    }

    fn rotate(&self, new_authority: bool) -> io::Result<()> {
        let mut tls = lock(&self.shared().tls);
        tls.rotate(new_authority)?;
        self.folder.write("ca.crt", &tls.authority.pem)?;
        self.folder.write("kubelet.crt", &tls.serving_chain_pem())?;
        Ok(())
    }

    /// The container starts over now: new start time, counter from zero, few fields until
    /// its next sample; `/pods` says that it ended in an error. False if there is no such
    /// container.
    pub fn restart_container(&self, pod: &str, container: &str) -> bool {
        self.kill_container(pod, container, "Error", 1)
    }

    /// The same for another reason: `OOMKilled` with 137, `Completed` with 0.
    pub fn kill_container(&self, pod: &str, container: &str, reason: &str, exit_code: i32) -> bool {
        let now = self.shared().now_ms();
        let mut node = lock(&self.shared().node);
        node.restart_container(pod, container, (reason, exit_code), now)
    }

    /// All containers of the pod end now: it leaves the summary, and `/pods` has it as
    /// `Succeeded`. False if there is no such pod.
    pub fn complete(&self, pod: &str) -> bool {
        self.end_pod(pod, 0)
    }

    /// The same with this exit code, which makes it `Failed` unless it is 0.
    pub fn end_pod(&self, pod: &str, exit_code: i32) -> bool {
        let now = self.shared().now_ms();
        lock(&self.shared().node).end_pod(pod, exit_code, now)
    }

    /// A pod (`namespace/name`) that is in `/pods` only, since it waits for this reason:
    /// `ContainerCreating`, `ImagePullBackOff`. Gives its uid, or `None` if the name has no
    /// namespace.
    pub fn add_pending(&self, pod: &str, reason: &str) -> Option<String> {
        let item = pending_item(&self.made(pod, 0, &Owner::Nobody)?, reason);
        let uid = item.metadata.uid.clone();
        lock(&self.shared().node).idle.push(item);
        Some(uid)
    }

    /// A pod that was pending starts now, with the uid, labels and annotations it has, and
    /// is in both replies. False if no pod of that name waits.
    pub fn start_pending(&self, pod: &str, millicores: u64) -> bool {
        let Some(mut started) = self.made(pod, millicores, &Owner::Nobody) else {
            return false;
        };
        let mut node = lock(&self.shared().node);
        let waits = |item: &Item| item.is(pod) && item.status.phase == "Pending";
        let Some(found) = node.idle.iter().position(waits) else {
            return false;
        };
        started.item.metadata = node.idle.remove(found).metadata;
        let uid = &started.item.metadata.uid;
        uid.clone_into(&mut started.template.pod_ref.uid);
        node.pods.push(started);
        node.changed(self.shared().now_ms());
        true
    }

    /// Every pod of that name has this label from now on. False if there is none.
    pub fn set_label(&self, pod: &str, key: &str, value: &str) -> bool {
        self.change_metadata(pod, |metadata| {
            metadata.labels.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Every pod of that name has this annotation from now on. False if there is none.
    pub fn set_annotation(&self, pod: &str, key: &str, value: &str) -> bool {
        self.change_metadata(pod, |metadata| {
            metadata
                .annotations
                .insert(key.to_owned(), value.to_owned());
        })
    }

    fn change_metadata(&self, pod: &str, change: impl Fn(&mut Metadata)) -> bool {
        let mut node = lock(&self.shared().node);
        let mut items = node.items_of(pod);
        for item in &mut items {
            change(&mut item.metadata);
        }
        !items.is_empty()
    }

    /// `/pods` has the static pod as the API server does: its mirror, with a uid of its
    /// own, while the summary keeps the kubelet's. Gives the mirror's uid, or `None` if
    /// there is no such pod.
    pub fn mirror_pod(&self, pod: &str) -> Option<String> {
        let mut node = lock(&self.shared().node);
        let found = node.find(pod).into_iter().next_back()?;
        found.is_mirrored = true;
        Some(mirror_uid(found))
    }

    /// Takes all pods of that name away, and says how many there were.
    pub fn remove_pod(&self, pod: &str) -> usize {
        self.remove(|candidate| candidate.is(pod))
    }

    /// Takes one pod away by its uid.
    pub fn remove_pod_uid(&self, uid: &str) -> usize {
        self.remove(|candidate| candidate.template.pod_ref.uid == uid)
    }

    fn remove(&self, gone: impl Fn(&crate::node::Pod) -> bool) -> usize {
        let mut node = lock(&self.shared().node);
        let before = node.pods.len();
        node.pods.retain(|pod| !gone(pod));
        node.changed(self.shared().now_ms());
        before - node.pods.len()
    }

    /// Takes all pods of that name away that are in `/pods` only, and says how many.
    pub fn remove_idle(&self, pod: &str) -> usize {
        let mut node = lock(&self.shared().node);
        let before = node.idle.len();
        node.idle.retain(|item| !item.is(pod));
        before - node.idle.len()
    }

    /// A second pod of the same name that started just now, as while one is replaced;
    /// gives its uid, or `None` if there is no such pod.
    pub fn add_duplicate_pod(&self, pod: &str) -> Option<String> {
        let (namespace, name) = pod.split_once('/')?;
        let now = self.shared().now_ms();
        let added = {
            let mut node = lock(&self.shared().node);
            let found = node.find(pod);
            let salt = crate::random::unique();
            started_now(copy(found.first()?, namespace, name, salt), now)
        };
        Some(self.add(added))
    }

    /// A new pod (`namespace/name`) with one container `log-generator`, started just now;
    /// gives its uid, or `None` if the name has no namespace.
    pub fn add_pod(&self, pod: &str, millicores: u64) -> Option<String> {
        let added = self.made(pod, millicores, &Owner::Nobody)?;
        Some(self.add(added))
    }

    /// The same as the pod of a Job, with the label `job_type`; the Job's name is the pod's
    /// without what follows the last hyphen: `default/report-29384720-x7k2p`.
    pub fn add_job_pod(&self, pod: &str, millicores: u64, job_type: &str) -> Option<String> {
        let owner = Owner::job(pod, job_type)?;
        let added = self.made(pod, millicores, &owner)?;
        Some(self.add(added))
    }

    fn made(&self, pod: &str, millicores: u64, owner: &Owner) -> Option<crate::node::Pod> {
        let full = lock(&self.shared().node).full.is_some();
        new_pod(pod, millicores, owner, full, self.shared().now_ms())
    }

    fn add(&self, pod: crate::node::Pod) -> String {
        let uid = pod.template.pod_ref.uid.clone();
        let mut node = lock(&self.shared().node);
        node.pods.push(pod);
        node.changed(self.shared().now_ms());
        uid
    }

    /// What a pod burns; of several with that name the newest.
    pub fn truth(&self, pod: &str) -> Option<Truth> {
        let mut node = lock(&self.shared().node);
        let is_full = node.full.is_some();
        let found = node.find(pod);
        found.last().map(|pod| pod.truth(is_full))
    }

    /// What the node and its system containers burn; `None` unless the kubelet is full.
    pub fn node_truth(&self) -> Option<NodeTruth> {
        let node = lock(&self.shared().node);
        let full = node.full.as_ref()?;
        Some(full.truth(self.shared().now_ms()))
    }

    /// `namespace/name` of every pod on the node.
    pub fn pod_names(&self) -> Vec<String> {
        let node = lock(&self.shared().node);
        let refs = node.pods.iter().map(|pod| &pod.template.pod_ref);
        refs.map(|one| format!("{}/{}", one.namespace, one.name))
            .collect()
    }
}
