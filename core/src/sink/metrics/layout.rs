//! Decides which families an input has, and to which of them each row of the catalogue goes.

use std::borrow::Cow;

use super::{
    Kind, Metrics, Naming, Scope, Target,
    families::Family,
    names::{self, Named},
    shared_labels,
};

impl Metrics {
    pub(super) fn rows_of(&mut self, scope: Scope) -> Vec<Vec<Target>> {
        let mut rows = Vec::new();
        for part in scope.parts() {
            for row in part.values {
                let source = match part.json {
                    "" => row.json.to_owned(),
                    path => format!("{path}.{}", row.json),
                };
                let named = match self.naming {
                    Naming::Prometheus => names::prometheus(scope, part, row),
                    Naming::OpenTelemetry => names::opentelemetry(scope, part, row),
                };
                let targets = named.into_iter().map(|named| {
                    let family = self.family(&named, scope, row.kind, &source);
                    self.target(family, &named)
                });
                rows.push(targets.collect());
            }
        }
        rows
    }

    pub(super) fn family(
        &mut self,
        named: &Named,
        scope: Scope,
        kind: Kind,
        source: &str,
    ) -> usize {
        if let Some(known) = self.by_name.get(&*named.name) {
            self.families[*known].is_made_of(source);
            return *known;
        }
        // The root series are in the families of the containers or of the pods.
        let among = match (named.is_root(), scope) {
            (false, scope) => scope,
            (true, Scope::NodeNetwork) => Scope::PodNetwork,
            (true, _) => Scope::Container,
        };
        let shared = shared_labels(self.naming, among, self.has_facts);
        let shared = [&self.common, shared].concat();
        let about = format!("From the kubelet: {source}");
        let family = Family::new(named.name.clone(), kind, about, named.unit, &shared);
        self.add(family)
    }

    pub(super) fn add(&mut self, family: Family) -> usize {
        self.by_name
            .insert(family.name.clone(), self.families.len());
        self.families.push(family);
        self.families.len() - 1
    }

    /// Adds the labels that the family does not have yet, and makes a target.
    pub(super) fn target(&mut self, family: usize, named: &Named) -> Target {
        let keys = &mut self.families[family].labels;
        for (key, _) in named.labels {
            if !keys.contains(&Cow::Borrowed(*key)) {
                keys.push(Cow::Borrowed(key));
            }
        }
        let value_of = |key: &Cow<str>| {
            let given = named.labels.iter().find(|(name, _)| name == key);
            given.map_or("", |(_, value)| *value)
        };
        Target {
            family,
            labels: keys.iter().map(value_of).collect(),
            is_root: named.is_root(),
        }
    }

    /// A target may have been made before its family got the label of another target.
    pub(super) fn complete_labels(&mut self) {
        for target in self.rows.iter_mut().flatten().flatten() {
            let keys = self.families[target.family].labels.len();
            target.labels.resize(keys, "");
        }
    }
}
