//! The smoke tests of a workload: from the configuration (`verifier.checks`), and from its annotation or else from its policy.
//!
//! Guarantees: an unknown key, a bad value, a name that is taken twice or two kinds in one definition are refused with the place
//! and the reason; a definition is either understood completely or not at all. Must not: run anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use contracts::v1::WorkloadRef;
use serde_json::Value;

use crate::checks::{KINDS, Kind, Pace, Probe, pods};
use crate::fields::{Fields, Invalid};
use crate::sight::Target;
use crate::text::excerpt;

/// The annotation of a Deployment that holds its smoke tests, a YAML list.
pub const ANNOTATION: &str = "lastgood.dev/smoke-tests";
/// The same of the policy, which the plan carries.
pub const POLICY: &str = "spec.checks";
/// The same of the configuration.
pub const SECTION: &str = "verifier.checks";

/// How many smoke tests a workload may have.
const MOST: usize = 50;

/// One smoke test.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its name, unique for a workload.
    pub name: String,
    /// "http", "tcp", "promql".
    pub kind: &'static str,
    /// How it is repeated.
    pub pace: Pace,
    /// What it tries.
    pub probe: Arc<dyn Probe>,
}

/// One smoke test of the configuration, for the workloads that it fits.
#[derive(Debug, Clone)]
pub struct Rule {
    namespace: Option<String>,
    workload: Option<String>,
    definition: Definition,
}

impl Rule {
    fn fits(&self, workload: &WorkloadRef) -> bool {
        let fits = |pattern: &Option<String>, name: &str| pattern.as_ref().is_none_or(|pattern| matches(pattern, name));
        fits(&self.namespace, &workload.namespace) && fits(&self.workload, &workload.name)
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(tail, &rest[at..]))),
    }
}

/// Reads the configuration's list.
pub fn read_rules(list: &[Value]) -> Result<Vec<Rule>, Invalid> {
    let mut rules = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let mut fields = Fields::of(format!("{SECTION}[{index}]"), value.clone())?;
        let (namespace, workload) = (fields.text("namespace")?, fields.text("workload")?);
        rules.push(Rule { namespace, workload, definition: read(fields)? });
    }
    Ok(rules)
}

/// A workload's own smoke tests, as a text: its annotation's, even if that is empty, or else its policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own<'a> {
    text: &'a str,
    place: &'static str,
}

impl<'a> Own<'a> {
    /// From what was found; the plan's is empty where the policy has none.
    #[must_use]
    pub const fn new(annotation: Option<&'a str>, policy: &'a str) -> Self {
        match annotation {
            Some(text) => Self { text, place: ANNOTATION },
            None => Self { text: policy, place: POLICY },
        }
    }

    fn read(self) -> Result<Vec<Definition>, Invalid> {
        let Self { text, place } = self;
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let value: Value = serde_saphyr::from_str(text)
            .map_err(|error| Invalid::new(place, format!("is not YAML: {}", excerpt(&error.to_string(), 200))))?;
        let list = match value {
            Value::Null => Vec::new(),
            Value::Array(list) => list,
            _ => return Err(Invalid::new(place, "must be a list of smoke tests")),
        };
        list.into_iter().enumerate().map(|(index, value)| read(Fields::of(format!("{place}[{index}]"), value)?)).collect()
    }
}

/// All smoke tests of a workload; none is legal.
pub fn of_workload(rules: &[Rule], own: Own<'_>, workload: &WorkloadRef) -> Result<Vec<Definition>, Invalid> {
    let mut all: Vec<Definition> = rules.iter().filter(|rule| rule.fits(workload)).map(|rule| rule.definition.clone()).collect();
    all.extend(own.read()?);
    if all.len() > MOST {
        return Err(Invalid::new(own.place, format!("has, with {SECTION}, {} smoke tests; at most {MOST} may be", all.len())));
    }
    let mut names = BTreeSet::new();
    match all.iter().find(|definition| !names.insert(definition.name.clone())) {
        Some(twice) => {
            Err(Invalid::new(own.place, format!("name `{}` is there twice (it may also come from {SECTION})", twice.name)))
        }
        None => Ok(all),
    }
}

fn read(mut fields: Fields) -> Result<Definition, Invalid> {
    let name = fields.text("name")?.ok_or_else(|| fields.invalid("name", "is missing"))?;
    check_name(&fields, &name)?;
    let mut found: Option<(&'static Kind, Value)> = None;
    for kind in KINDS {
        if let Some(value) = fields.raw(kind.key) {
            if let Some((first, _)) = &found {
                return Err(
                    fields.invalid(kind.key, format!("a smoke test is of one kind, and this one has `{}` too", first.key))
                );
            }
            found = Some((kind, value));
        }
    }
    let Some((kind, value)) = found else {
        let keys = KINDS.iter().map(|kind| format!("`{}`", kind.key)).collect::<Vec<_>>().join(", ");
        return Err(fields.invalid_self(format!("needs one of {keys}")));
    };
    let target = target(&mut fields, kind)?;
    let pace = Pace {
        timeout: fields.duration("timeout")?.unwrap_or(kind.pace.timeout),
        retries: fields.whole("retries", 0, 1000)?.unwrap_or(kind.pace.retries),
        interval: fields.duration("interval")?.unwrap_or(kind.pace.interval),
        passes: fields.whole("passes", 1, 1000)?.unwrap_or(kind.pace.passes),
    };
    let probe = (kind.read)(Fields::of(fields.path_of(kind.key), value)?, target)?;
    fields.finish()?;
    Ok(Definition { name, kind: kind.key, pace, probe })
}

fn check_name(fields: &Fields, name: &str) -> Result<(), Invalid> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
        return Err(fields.invalid("name", "must be 1 to 63 letters, digits, `-`, `_` and `.`"));
    }
    if name == pods::NAME {
        return Err(fields.invalid("name", "`pods` is the check that always runs; take another name"));
    }
    Ok(())
}

fn target(fields: &mut Fields, kind: &Kind) -> Result<Target, Invalid> {
    #[derive(Clone, Copy, PartialEq)]
    enum To {
        Pods,
        Service,
    }
    let to = fields.word("target", &[("pods", To::Pods), ("service", To::Service)])?;
    let service = fields.text("service")?;
    if !kind.aimed && (to.is_some() || service.is_some()) {
        return Err(fields.invalid("target", format!("is not for `{}`", kind.key)));
    }
    match (to.unwrap_or(To::Pods), service) {
        (To::Pods, None) => Ok(Target::Pods),
        (To::Pods, Some(_)) => Err(fields.invalid("service", "is only for `target: service`")),
        (To::Service, name) => Ok(Target::Service(name)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn web() -> WorkloadRef {
        WorkloadRef { cluster: "default".into(), namespace: "shop".into(), kind: "Deployment".into(), name: "web".into() }
    }

    fn annotated(rules: &[Rule], annotation: Option<&str>) -> Result<Vec<Definition>, Invalid> {
        of_workload(rules, Own::new(annotation, ""), &web())
    }

    #[test]
    fn the_annotation_goes_before_the_policy() {
        let names = |annotation: Option<&str>| {
            let all = of_workload(&[], Own::new(annotation, "- {name: policy, tcp: {port: 1}}"), &web()).unwrap();
            all.into_iter().map(|definition| definition.name).collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["policy"]);
        assert_eq!(names(Some("- {name: own, tcp: {port: 1}}")), ["own"]);
        assert!(names(Some("")).is_empty(), "none, said by the workload itself");
        let bad = of_workload(&[], Own::new(None, "- {name: x}"), &web()).unwrap_err();
        assert_eq!(bad.path, "spec.checks[0]");
    }

    /// Whatever a policy document may say of smoke tests, every key of its language once at least, is read here.
    #[test]
    fn the_policys_language_is_this_one() {
        use lastgood_core::policy::{Limits, Origin, read};
        let checks = json!([
            {"name": "a", "http": {"path": "/x", "port": 8080, "scheme": "https", "expect_status": "200-299,301", "expect_body": "ok",
                "headers": {"X-A": "b"}, "method": "POST", "insecure": true}, "target": "service", "service": "web", "timeout": "500ms",
                "retries": 0, "interval": "1m30s", "passes": 1},
            {"name": "b", "http": {"port": 1, "expect_status": 204}, "target": "pods"},
            {"name": "c", "tcp": {"port": 65535}},
            {"name": "d", "promql": {"query": "up{n=\"{{namespace}}\"}", "min": 0.5, "max": 1}},
            {"name": "e", "promql": {"query": "up", "equals": -1.5}, "timeout": "1h"},
        ]);
        let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"checks": checks}});
        let says = read(&document, Origin::File, &Limits::default()).unwrap().says.unwrap();
        let text = says.checks_yaml.unwrap();
        let all = of_workload(&[], Own::new(None, &text), &web()).unwrap();
        assert_eq!(all.iter().map(|definition| definition.kind).collect::<Vec<_>>(), ["http", "http", "tcp", "promql", "promql"]);
        assert_eq!(all[0].pace.interval, Duration::from_secs(90));
    }

    #[test]
    fn the_documented_example_is_read() {
        let text = r#"
- {name: home, http: {path: /smoke, port: 8080, scheme: http, expect_status: "200-299", expect_body: "ok", headers: {X-A: b}, method: GET}, target: service, timeout: 500ms, retries: 5, interval: 250ms, passes: 2}
- {name: port, tcp: {port: 8080}}
- name: errors
  promql:
    query: 'sum(rate(http_requests_total{namespace="{{namespace}}",deployment="{{name}}",code=~"5.."}[1m]))'
    max: 0.01
"#;
        let all = annotated(&[], Some(text)).unwrap();
        let kinds: Vec<_> = all.iter().map(|definition| (definition.name.as_str(), definition.kind)).collect();
        assert_eq!(kinds, [("home", "http"), ("port", "tcp"), ("errors", "promql")]);
        let wanted = Pace { timeout: Duration::from_millis(500), retries: 5, interval: Duration::from_millis(250), passes: 2 };
        assert_eq!(all[0].pace, wanted);
        assert_eq!(all[1].pace.passes, 3);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        let cases = [
            ("{name: a}", "`lastgood.dev/smoke-tests`: must be a list of smoke tests"),
            ("- nonsense", "`lastgood.dev/smoke-tests[0]`: must be a mapping, not a text"),
            ("- {tcp: {port: 1}}", "`lastgood.dev/smoke-tests[0].name`: is missing"),
            ("- {name: a}", "`lastgood.dev/smoke-tests[0]`: needs one of `http`, `tcp`, `promql`"),
            ("- {name: pods, tcp: {port: 1}}", "[0].name`: `pods` is the check that always runs"),
            ("- {name: a b, tcp: {port: 1}}", "[0].name`: must be 1 to 63 letters"),
            ("- {name: a, tcp: {port: 1}, http: {port: 1}}", "a smoke test is of one kind"),
            ("- {name: a, tcp: {port: 1}}\n- {name: b, tcp: {prt: 1}}", "[1].tcp.port`: is missing"),
            ("- {name: a, tcp: {port: 1, host: x}}", "[0].tcp.host`: is not a key here"),
            ("- {name: a, tcp: {port: 70000}}", "[0].tcp.port`: must be a port from 1 to 65535, not `70000`"),
            ("- {name: a, tcp: {port: 1}, tries: 3}", "[0].tries`: is not a key here; known are name, http, tcp, promql"),
            ("- {name: a, tcp: {port: 1}, passes: 0}", "[0].passes`: must be a whole number from 1 to 1000"),
            ("- {name: a, tcp: {port: 1}, namespace: x}", "[0].namespace`: is not a key here"),
            ("- {name: a, tcp: {port: 1}, service: web}", "[0].service`: is only for `target: service`"),
            ("- {name: a, http: {port: 1, path: smoke}}", "[0].http.path`: must be a path that begins with `/`"),
            ("- {name: a, http: {port: 1, expect_status: 2xx}}", "[0].http.expect_status`: must be like `200`"),
            ("- {name: a, http: {port: 1, expect_status: '299-200'}}", "[0].http.expect_status`: must be like `200`"),
            ("- {name: a, http: {port: 1, method: DELETE}}", "[0].http.method`: must be one of GET, HEAD"),
            ("- {name: a, http: {port: 1, headers: {'a b': c}}}", "[0].http.headers.a b`: is not a header's name"),
            ("- {name: a, http: {port: 1, insecure: true}}", "[0].http.insecure`: is only for `scheme: https`"),
            ("- {name: a, promql: {query: up}}", "[0].promql`: needs `max`, `min` or `equals`"),
            ("- {name: a, promql: {query: up, equals: 1, max: 2}}", "[0].promql.equals`: excludes `min` and `max`"),
            ("- {name: a, promql: {query: up, min: 3, max: 2}}", "[0].promql.min`: is larger than `max`"),
            ("- {name: a, promql: {query: 'up{{x}}', min: 3}}", "[0].promql.query`: has the unknown placeholder"),
            ("- {name: a, promql: {query: up, min: 3}, target: pods}", "[0].target`: is not for `promql`"),
            ("- {name: a, tcp: {port: 1}}\n- {name: a, tcp: {port: 2}}", "name `a` is there twice"),
            ("- {name: a, name: b, tcp: {port: 1}}", "is not YAML"),
            ("- {name: [", "is not YAML"),
        ];
        for (text, wanted) in cases {
            let error = annotated(&[], Some(text)).expect_err(text).to_string();
            assert!(error.contains(wanted), "{text}\n says: {error}\n not: {wanted}");
        }
    }

    #[test]
    fn rules_fit_by_namespace_and_workload() {
        let rules = read_rules(&[
            json!({"name": "all", "tcp": {"port": 1}}),
            json!({"name": "shop", "namespace": "shop", "tcp": {"port": 1}}),
            json!({"name": "other", "namespace": "other", "tcp": {"port": 1}}),
            json!({"name": "pattern", "workload": "w*b", "tcp": {"port": 1}}),
        ])
        .unwrap();
        let names: Vec<_> = annotated(&rules, None).unwrap().into_iter().map(|definition| definition.name).collect();
        assert_eq!(names, ["all", "shop", "pattern"]);
        let twice = annotated(&rules, Some("- {name: all, tcp: {port: 2}}")).unwrap_err();
        assert!(twice.reason.contains("name `all` is there twice"), "{twice}");
        let bad = read_rules(&[json!({"name": "x", "tcp": {"port": "http"}})]).unwrap_err();
        assert_eq!(bad.path, "verifier.checks[0].tcp.port");
    }

    #[test]
    fn hostile_yaml_is_refused() {
        let nine = |of: char| vec![format!("*{of}"); 9].join(",");
        let bomb: Vec<String> = ('a'..='y').zip('b'..='z').map(|(of, name)| format!("{name}: &{name} [{}]", nine(of))).collect();
        let bomb = format!("a: &a [x,x,x]\n{}", bomb.join("\n"));
        for text in ["[".repeat(200_000), "{a: ".repeat(60_000), "- ".repeat(100_000), bomb] {
            assert!(annotated(&[], Some(&text)).is_err());
        }
    }

    #[test]
    fn no_smoke_tests_is_legal() {
        for text in [None, Some(""), Some("[]"), Some("# none yet")] {
            assert!(annotated(&[], text).unwrap().is_empty(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = annotated(&[], Some(&text));
        }

        #[test]
        fn a_pattern_of_its_own_name_fits(name in "[a-z0-9-]{0,12}", at in 0_usize..12) {
            prop_assert!(matches(&name, &name));
            let at = at.min(name.len());
            let pattern = format!("{}*{}", &name[..at], &name[at..]);
            prop_assert!(matches(&pattern, &name));
            let longer = pattern + "x";
            prop_assert!(!matches(&longer, &name) || name.ends_with('x'));
        }
    }
}
