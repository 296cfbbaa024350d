{{- /*
What would be accepted by Kubernetes and go wrong in operation is refused here, with what to do. That the configuration
itself is right, `kt config check` says.
*/ -}}
{{- define "kt.check" -}}
{{- $where := ternary "" (printf "dedicated.%s: " .unit) (eq .unit "shared") -}}
{{- $values := .values -}}
{{- $config := .config -}}
{{- if not $config -}}
{{- fail (printf "%spolicyConfig is empty: it is the policy-config.yaml of these gateways (--set-file policyConfig=FILE, or as a map)" $where) -}}
{{- end -}}
{{- if hasKey $config "Error" -}}
{{- fail (printf "%spolicyConfig is no YAML: %s" $where $config.Error) -}}
{{- end -}}
{{- if and (eq $values.topology "hybrid") (not .root.Values.dedicated) -}}
{{- fail "topology hybrid wants deployments in `dedicated`; without any it is `hosted`" -}}
{{- end -}}
{{- if and (ne $values.topology "hybrid") .root.Values.dedicated -}}
{{- fail (printf "`dedicated` is for topology hybrid, and topology is %s" $values.topology) -}}
{{- end -}}
{{- range $name := keys .root.Values.dedicated -}}
{{- if regexMatch "^shared$|(^|-)(metrics|migrate|test)$" $name -}}
{{- fail (printf "dedicated.%s: what belongs to it would be called as what belongs to another deployment: choose a name that is not `shared` and does not end in metrics, migrate or test" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $values.topology "per-team") (not $values.team) -}}
{{- fail "topology per-team wants `team`: the team whose release this is" -}}
{{- end -}}
{{- if and (eq $values.topology "hosted") $values.team -}}
{{- fail "`team` is for topology per-team; hosted gateways serve whoever has a key" -}}
{{- end -}}
{{- $database := dig "database" dict $config -}}
{{- if and (include "kt.isSeveral" .) (not $database) -}}
{{- fail (printf "%sseveral replicas want `database` in policyConfig: without it each has gateway keys of its own, and a purge or a dollar is nobody else's. Or: replicas: 1, autoscaling.enabled: false" $where) -}}
{{- end -}}
{{- if and (not $database) (not $values.persistence.enabled) -}}
{{- fail (printf "%swithout `database` in policyConfig gateway keys are in the sidecar's folder, and would be lost with the pod: persistence.enabled: true, or a `database`" $where) -}}
{{- end -}}
{{- $engines := list (list "database.url" (dig "database" "url" dict $config) "postgres") (list "wallet.url" (dig "wallet" "url" dict $config) "postgres") (list "workflow_cache.redis.url" (dig "workflow_cache" "redis" "url" dict $config) "redis") -}}
{{- range $engine := $engines -}}
{{- $url := index $engine 1 -}}
{{- if and (kindIs "map" $url) (hasKey $url "env") -}}
{{- $from := index $values (index $engine 2) -}}
{{- $extra := list -}}
{{- range $values.sidecar.extraEnv -}}{{- $extra = append $extra .name -}}{{- end -}}
{{- if not (or (has $url.env $extra) (and $from.existingSecret (eq $from.env $url.env))) -}}
{{- fail (printf "%spolicyConfig: %s is in the variable %s, which the sidecar would not have: name a Secret with %s.existingSecret, and the variable with %s.env" $where (index $engine 0) $url.env (index $engine 2) (index $engine 2)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $at, $rule := dig "identities" list $config -}}
{{- if and (kindIs "map" $rule) (hasKey $rule "spiffe") -}}
{{- fail (printf "%spolicyConfig: identities[%d].spiffe is for clients with certificates, and the chart's gateways ask for none, so they would not start: identify clients by `jwt` or by gateway keys" $where $at) -}}
{{- end -}}
{{- end -}}
{{- $scaling := $values.autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail (printf "%sautoscaling.minReplicas is %d and maxReplicas %d: no more are wanted than there may be" $where (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- $ports := list (int $values.gateway.port) (int $values.gateway.metricsPort) (int $values.sidecar.port) -}}
{{- if ne (len (uniq $ports)) 3 -}}
{{- fail (printf "%sgateway.port, gateway.metricsPort and sidecar.port are in one pod: each must be another one" $where) -}}
{{- end -}}
{{- $given := list -}}
{{- range concat $values.gateway.extraEnv $values.providerKeys -}}{{- $given = append $given (default .env .name) -}}{{- end -}}
{{- range $target := dig "providers" "targets" list $config -}}
{{- $wanted := dig "secret_key_ref" "env" "" $target -}}
{{- if and $wanted (not (has $wanted $given)) -}}
{{- fail (printf "%spolicyConfig: the target %s has its credential in the variable %s, which the gateway would not have: add it to providerKeys" $where (dig "id" "" $target) $wanted) -}}
{{- end -}}
{{- end -}}
{{- end -}}
