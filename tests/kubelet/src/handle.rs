//! Owns the handle of a running simulated kubelet: its address, what it has received, and what
//! can be changed while it runs.

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

/// A running simulated kubelet. Dropping it stops it and removes its temporary folder.
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

    /// For example `https://127.0.0.1:PORT`, or `http://` without TLS.
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

    /// The serving certificate and its CA as PEM, like `kubelet.crt` of a self-signed kubelet.
    pub fn chain_file(&self) -> PathBuf {
        self.folder.join("kubelet.crt")
    }

    /// The first accepted token. If none is set, it is a token that is not checked.
    pub fn token_file(&self) -> PathBuf {
        self.folder.join("token")
    }

    pub fn client_cert_file(&self) -> PathBuf {
        self.folder.join("client.crt")
    }

    pub fn client_key_file(&self) -> PathBuf {
        self.folder.join("client.key")
    }

    /// What a client needs: the URL, the CA file and the token file.
    pub fn access(&self) -> [String; 3] {
        let files = [self.ca_file(), self.token_file()];
        let [ca, token] = files.map(|file| file.display().to_string());
        [self.url(), ca, token]
    }

    /// Issues another certificate of the client CA. Returns its files, certificate and key.
    pub fn issue_client_certificate(&self, name: &str) -> io::Result<(PathBuf, PathBuf)> {
        let client = self.client_authority.client(name)?;
        Ok((
            self.folder
                .write(&format!("{name}.crt"), &client.certificate_pem)?,
            self.folder.write(&format!("{name}.key"), &client.key_pem)?,
        ))
    }

    /// The number of complete requests, answered or not.
    pub fn requests(&self) -> u64 {
        self.journal().requests()
    }

    /// The number of replies that were sent completely.
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

    /// The number of completed TLS handshakes.
    pub fn handshakes(&self) -> u64 {
        self.journal().handshakes.load(Ordering::Relaxed)
    }

    /// The latest requests, oldest first, at most 10,000.
    pub fn recorded_requests(&self) -> Vec<RecordedRequest> {
        self.journal().latest()
    }

    /// Returns true when `count` requests have arrived since the start, or false at the
    /// deadline.
    pub fn wait_for_requests(&self, count: u64, deadline: Duration) -> bool {
        self.journal().wait_for_requests(count, deadline)
    }

    /// The number of requests for a path such as `/pods`, directly or through the API server's
    /// proxy.
    pub fn requests_of(&self, path: &str) -> u64 {
        self.journal().requests_of(path)
    }

    /// Returns true when `count` requests for that path have arrived since the start, or false
    /// at the deadline.
    pub fn wait_for_requests_of(&self, path: &str, count: u64, deadline: Duration) -> bool {
        self.journal().wait_for_requests_of(path, count, deadline)
    }

    /// Sets the fault for every path but `/pods`, from now on. A fault of connections applies
    /// to all paths. It also cuts the existing connections, so that it takes effect at once.
    pub fn set_fault(&self, fault: Fault) {
        let cut = fault.stage() == Stage::Connection;
        lock(&self.shared().injection).set(fault);
        if cut {
            self.close_connections();
        }
    }

    /// Does the same for `/pods` alone. The fault of the other paths does not change.
    ///
    /// # Panics
    /// It panics with a fault of connections, because connections do not belong to a path.
    pub fn set_pods_fault(&self, fault: Fault) {
        assert_eq!(fault.stage(), Stage::Request, "{fault} has no path");
        lock(&self.shared().pods_injection).set(fault);
    }

    /// Ends the fault. Connections that hang continue to hang; new ones work.
    pub fn clear_fault(&self) {
        self.set_fault(Fault::None);
    }

    /// Cuts every connection.
    pub fn close_connections(&self) {
        self.shared().close_connections();
    }

    /// Accepts only these tokens. The token file does not change.
    pub fn set_tokens(&self, tokens: &[&str]) {
        lock(&self.shared().access).tokens =
            tokens.iter().map(|token| (*token).to_owned()).collect();
    }

    /// Sets whether tokens are checked. If not, every request without a known client
    /// certificate is anonymous, and anonymous requests have no rights.
    pub fn set_webhook(&self, enabled: bool) {
        lock(&self.shared().access).no_webhook = !enabled;
    }

    /// Sets whether anybody has the right to `/pods`.
    pub fn allow_pods(&self, allowed: bool) {
        lock(&self.shared().access).pods_forbidden = !allowed;
    }

    /// Sets whether the kubelet has a separate right to `/pods`, as since 1.33. Only the text
    /// of its refusal differs.
    pub fn set_fine_rights(&self, fine: bool) {
        lock(&self.shared().access).coarse_rights = !fine;
    }

    /// Sets the body of `/pods`. With `None`, it is again that of the node.
    pub fn set_pods_body(&self, body: Option<Vec<u8>>) {
        *lock(&self.shared().pods_body) = body;
    }

    /// Sets whether the API server does not answer a request about a token or a right.
    pub fn set_api_server_away(&self, away: bool) {
        lock(&self.shared().access).server_away = away;
    }

    /// Replaces the token file at once. The accepted tokens do not change.
    pub fn write_token_file(&self, token: &str) -> io::Result<()> {
        self.folder.write("token", token).map(|_| ())
    }

    /// Uses a new serving certificate of the same CA for connections from now on.
    pub fn rotate_certificate(&self) -> io::Result<()> {
        self.rotate(false)
    }

    /// Uses a new CA as well, and writes it to the CA file, as a self-signed kubelet does with
    /// new files.
    pub fn rotate_ca(&self) -> io::Result<()> {
        self.rotate(true)
    }

    /// Uses this certificate and its key from the next connection on; both are PEM. The files
    /// for clients do not change.
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

    /// Restarts the container now: it has a new start time, its counter begins at zero, and it
    /// has few fields until its next sample. `/pods` reports that it ended with an error.
    /// Returns false if there is no such container.
    pub fn restart_container(&self, pod: &str, container: &str) -> bool {
        self.kill_container(pod, container, "Error", 1)
    }

    /// Does the same with another reason, for example `OOMKilled` with 137 or `Completed` with
    /// 0.
    pub fn kill_container(&self, pod: &str, container: &str, reason: &str, exit_code: i32) -> bool {
        let now = self.shared().now_ms();
        let mut node = lock(&self.shared().node);
        node.restart_container(pod, container, (reason, exit_code), now)
    }

    /// Ends all containers of the pod now. The pod is absent in the summary, and `Succeeded`
    /// in `/pods`. Returns false if there is no such pod.
    pub fn complete(&self, pod: &str) -> bool {
        self.end_pod(pod, 0)
    }

    /// Does the same with this exit code. The pod is `Failed` unless the code is 0.
    pub fn end_pod(&self, pod: &str, exit_code: i32) -> bool {
        let now = self.shared().now_ms();
        lock(&self.shared().node).end_pod(pod, exit_code, now)
    }

    /// Adds a pod (`namespace/name`) that is only in `/pods`, because it waits for this
    /// reason, for example `ContainerCreating` or `ImagePullBackOff`. Returns its uid, or
    /// `None` if the name has no namespace.
    pub fn add_pending(&self, pod: &str, reason: &str) -> Option<String> {
        let item = pending_item(&self.made(pod, 0, &Owner::Nobody)?, reason);
        let uid = item.metadata.uid.clone();
        lock(&self.shared().node).idle.push(item);
        Some(uid)
    }

    /// Starts a pending pod now, with its uid, labels and annotations. It is in both replies
    /// then. Returns false if there is no such pod.
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

    /// Sets this label on every pod of that name. Returns false if there is none.
    pub fn set_label(&self, pod: &str, key: &str, value: &str) -> bool {
        self.change_metadata(pod, |metadata| {
            metadata.labels.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Sets this annotation on every pod of that name. Returns false if there is none.
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

    /// From now on, `/pods` has the API server's copy of the static pod: its mirror pod, with
    /// another uid. The summary keeps the kubelet's uid. Returns the mirror pod's uid, or
    /// `None` if there is no such pod.
    pub fn mirror_pod(&self, pod: &str) -> Option<String> {
        let mut node = lock(&self.shared().node);
        let found = node.find(pod).into_iter().next_back()?;
        found.is_mirrored = true;
        Some(mirror_uid(found))
    }

    /// Removes all pods of that name, and returns how many there were.
    pub fn remove_pod(&self, pod: &str) -> usize {
        self.remove(|candidate| candidate.is(pod))
    }

    /// Removes one pod by its uid.
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

    /// Removes all pods of that name that are only in `/pods`, and returns how many there
    /// were.
    pub fn remove_idle(&self, pod: &str) -> usize {
        let mut node = lock(&self.shared().node);
        let before = node.idle.len();
        node.idle.retain(|item| !item.is(pod));
        before - node.idle.len()
    }

    /// Adds a second pod of the same name that started just now, as during a replacement.
    /// Returns its uid, or `None` if there is no such pod.
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

    /// Adds a new pod (`namespace/name`) with one container `log-generator`, which started
    /// just now. Returns its uid, or `None` if the name has no namespace.
    pub fn add_pod(&self, pod: &str, millicores: u64) -> Option<String> {
        let added = self.made(pod, millicores, &Owner::Nobody)?;
        Some(self.add(added))
    }

    /// Does the same for the pod of a Job, with the label `job_type`. The Job has the name of
    /// the pod without the part from the last hyphen on, for example
    /// `default/report-29384720-x7k2p`.
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

    /// Returns the CPU that a pod really uses. If several have that name, it is the newest.
    pub fn truth(&self, pod: &str) -> Option<Truth> {
        let mut node = lock(&self.shared().node);
        let is_full = node.full.is_some();
        let found = node.find(pod);
        found.last().map(|pod| pod.truth(is_full))
    }

    /// Returns the CPU that the node and its system containers really use, or `None` unless
    /// the kubelet is full.
    pub fn node_truth(&self) -> Option<NodeTruth> {
        let node = lock(&self.shared().node);
        let full = node.full.as_ref()?;
        Some(full.truth(self.shared().now_ms()))
    }

    /// The `namespace/name` of every pod on the node.
    pub fn pod_names(&self) -> Vec<String> {
        let node = lock(&self.shared().node);
        let refs = node.pods.iter().map(|pod| &pod.template.pod_ref);
        refs.map(|one| format!("{}/{}", one.namespace, one.name))
            .collect()
    }
}
