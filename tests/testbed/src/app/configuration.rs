//! The ConfigMap and the Secret of a test's application.
//!
//! Guarantee: what its options say is there before its first pod. Must not: do what lastgood does with them.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::App;

impl App {
    pub(super) fn configured(&self, spec: &mut Value) {
        if !self.options.config.is_empty() {
            spec["volumes"] = json!([{"name": "config", "configMap": {"name": self.config_name()}}]);
            spec["containers"][0]["volumeMounts"] = json!([{"name": "config", "mountPath": "/etc/web"}]);
            if let Some(env) = spec["containers"][0]["env"].as_array_mut() {
                env.push(json!({"name": "BEHAVIOUR_FILE", "value": "/etc/web/behaviour"}));
            }
        }
        if !self.options.secret.is_empty() {
            spec["containers"][0]["envFrom"] = json!([{"secretRef": {"name": format!("{}-secret", self.name)}}]);
        }
    }

    /// The name of its ConfigMap.
    #[must_use]
    pub fn config_name(&self) -> String {
        format!("{}-config", self.name)
    }

    /// The ConfigMaps of its namespace.
    #[must_use]
    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Edits one key of its ConfigMap, as `kubectl edit` does: nothing is rolled out for it.
    pub async fn edit_config(&self, key: &str, value: &str) -> Result<()> {
        let params = PatchParams { field_manager: Some("owner".to_owned()), ..PatchParams::default() };
        let patch = json!({"data": {key: value}});
        let name = self.config_name();
        self.config_maps().patch(&name, &params, &Patch::Merge(&patch)).await.context("editing the ConfigMap")?;
        Ok(())
    }

    /// Makes both.
    pub(super) async fn make_configuration(&self) -> Result<()> {
        if !self.options.config.is_empty() {
            let config = json!({"metadata": {"name": self.config_name()}, "data": self.options.config});
            let config = serde_json::from_value(config)?;
            self.config_maps().create(&PostParams::default(), &config).await.context("creating the ConfigMap")?;
        }
        if !self.options.secret.is_empty() {
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
            let secret = json!({"metadata": {"name": format!("{}-secret", self.name)}, "stringData": self.options.secret});
            secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await.context("creating the Secret")?;
        }
        Ok(())
    }
}
