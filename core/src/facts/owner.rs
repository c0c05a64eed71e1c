//! The workload of a pod by the name that its user knows: the Deployment, not its ReplicaSet.
//!
//! The kubelet knows a pod's owner but not the owner's owner. For a ReplicaSet and a Job, the
//! owner's owner follows from the name, because the controllers of Kubernetes build that name by a
//! rule.

use super::Workload;

/// A reference to an owner.
#[derive(Debug, Default, Clone, Copy)]
pub struct Owner<'a> {
    /// For example `apps/v1`. It is empty if it is absent.
    pub api_version: &'a str,
    /// For example `ReplicaSet`.
    pub kind: &'a str,
    /// The name of the owner.
    pub name: &'a str,
}

impl Owner<'_> {
    /// Returns the workload behind the owner. The owner of a static pod's mirror is the node, which
    /// is no workload, so a static pod has none.
    pub fn workload(&self, pod_template_hash: Option<&str>) -> Option<Workload> {
        let workload = |kind: &str, name: &str| {
            let named = !kind.is_empty() && !name.is_empty();
            named.then(|| Workload {
                kind: kind.into(),
                name: name.into(),
            })
        };
        match self.kind {
            "Node" => None,
            "ReplicaSet" if self.is_of("apps/") => {
                match pod_template_hash.and_then(|hash| deployment(self.name, hash)) {
                    Some(name) => workload("Deployment", name),
                    None => workload(self.kind, self.name),
                }
            }
            "Job" if self.is_of("batch/") => match cron_job(self.name) {
                Some(name) => workload("CronJob", name),
                None => workload(self.kind, self.name),
            },
            _ => workload(self.kind, self.name),
        }
    }

    /// Whether the owner is of this API group. Other groups also have kinds that are named `Job`.
    fn is_of(&self, group: &str) -> bool {
        self.api_version.is_empty() || self.api_version.starts_with(group)
    }
}

/// A ReplicaSet's name is the Deployment's name and the hash of the pod's template. The hash is
/// also a label of the pod.
fn deployment<'a>(replica_set: &'a str, hash: &str) -> Option<&'a str> {
    let name = replica_set.strip_suffix(hash)?.strip_suffix('-')?;
    (!hash.is_empty() && !name.is_empty()).then_some(name)
}

/// A Job's name is the CronJob's name and the scheduled time. The time is in minutes since the
/// epoch, or in seconds before Kubernetes 1.21.
fn cron_job(job: &str) -> Option<&str> {
    /// The longest name a CronJob can have.
    const LONGEST: usize = 52;
    /// From 2016, the year of the first CronJob, to 2100. A date such as 20261127 is not in this
    /// range of minutes.
    const SECONDS: std::ops::Range<u64> = 1_451_606_400..4_102_444_800;
    let (name, due) = job.rsplit_once('-')?;
    let is_written_so = due.bytes().all(|byte| byte.is_ascii_digit()) && !due.starts_with('0');
    let time: u64 = due.parse().ok().filter(|_| is_written_so)?;
    let is_plausible = SECONDS.contains(&time) || SECONDS.contains(&time.saturating_mul(60));
    (is_plausible && (1..=LONGEST).contains(&name.len())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_called_as_its_user_knows_it() {
        let long = "c".repeat(53);
        let long_job = format!("{long}-29403360");
        for (api_version, kind, name, hash, expected) in [
            (
                "apps/v1",
                "ReplicaSet",
                "web-5d69b5c8bf",
                Some("5d69b5c8bf"),
                Some(("Deployment", "web")),
            ),
            (
                "",
                "ReplicaSet",
                "web-api-7c9",
                Some("7c9"),
                Some(("Deployment", "web-api")),
            ),
            // The ReplicaSet was made by hand or by another controller.
            (
                "apps/v1",
                "ReplicaSet",
                "frontend",
                None,
                Some(("ReplicaSet", "frontend")),
            ),
            (
                "apps/v1",
                "ReplicaSet",
                "web-5d69b5c8bf",
                None,
                Some(("ReplicaSet", "web-5d69b5c8bf")),
            ),
            (
                "apps/v1",
                "ReplicaSet",
                "web-5d69b5c8bf",
                Some("other"),
                Some(("ReplicaSet", "web-5d69b5c8bf")),
            ),
            (
                "apps/v1",
                "ReplicaSet",
                "web-",
                Some(""),
                Some(("ReplicaSet", "web-")),
            ),
            (
                "apps/v1",
                "ReplicaSet",
                "-5d69",
                Some("5d69"),
                Some(("ReplicaSet", "-5d69")),
            ),
            (
                "apps/v1",
                "StatefulSet",
                "db",
                None,
                Some(("StatefulSet", "db")),
            ),
            (
                "apps/v1",
                "DaemonSet",
                "fluentd-elasticsearch",
                None,
                Some(("DaemonSet", "fluentd-elasticsearch")),
            ),
            (
                "argoproj.io/v1alpha1",
                "Workflow",
                "steps-x2",
                None,
                Some(("Workflow", "steps-x2")),
            ),
            ("v1", "Node", "vm", None, None),
            (
                "v1",
                "ReplicationController",
                "old",
                None,
                Some(("ReplicationController", "old")),
            ),
            (
                "batch/v1",
                "Job",
                "hello-29403360",
                None,
                Some(("CronJob", "hello")),
            ),
            (
                "batch/v1beta1",
                "Job",
                "hello-1610668380",
                None,
                Some(("CronJob", "hello")),
            ),
            ("batch/v1", "Job", "pi", None, Some(("Job", "pi"))),
            // These end with a date, a number, or a time with a leading zero.
            (
                "batch/v1",
                "Job",
                "backup-20261127",
                None,
                Some(("Job", "backup-20261127")),
            ),
            (
                "batch/v1",
                "Job",
                "import-12345678",
                None,
                Some(("Job", "import-12345678")),
            ),
            (
                "batch/v1",
                "Job",
                "import-029403360",
                None,
                Some(("Job", "import-029403360")),
            ),
            (
                "batch/v1",
                "Job",
                "import-99999999999999999999999",
                None,
                Some(("Job", "import-99999999999999999999999")),
            ),
            (
                "batch/v1",
                "Job",
                "-29403360",
                None,
                Some(("Job", "-29403360")),
            ),
            (
                "batch/v1",
                "Job",
                &long_job,
                None,
                Some(("Job", long_job.as_str())),
            ),
            (
                "batch.volcano.sh/v1alpha1",
                "Job",
                "train-29403360",
                None,
                Some(("Job", "train-29403360")),
            ),
            ("apps/v1", "", "x", None, None),
            ("apps/v1", "StatefulSet", "", None, None),
        ] {
            let owner = Owner {
                api_version,
                kind,
                name,
            };
            let workload = owner.workload(hash);
            let found = workload.as_ref().map(|of| (&*of.kind, &*of.name));
            assert_eq!(found, expected, "{kind} {name}");
        }
    }
}
