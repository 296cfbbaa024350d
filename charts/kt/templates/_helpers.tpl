{{- /* The name of everything in a release. Short enough for what is put behind it. */ -}}
{{- define "kt.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $full .Values.fullnameOverride | trunc 32 | trimSuffix "-" -}}
{{- end -}}

{{- /* The deployments of a release, as a list: "" is the shared one. */ -}}
{{- define "kt.units" -}}
{{- concat (list "") (keys .Values.dedicated | sortAlpha) | toJson -}}
{{- end -}}

{{- /*
Puts a deployment into `into`: its `values`, `name`, `config` (the parsed policyConfig), and the `root`. The dictionary is
filled instead of rendered and read again, since that would make floating-point numbers of the configuration's.
*/ -}}
{{- define "kt.unit" -}}
{{- $values := deepCopy (omit .root.Values "dedicated") -}}
{{- $name := include "kt.fullname" .root -}}
{{- if .unit -}}
{{- $own := deepCopy (index .root.Values.dedicated .unit) -}}
{{- $values = mergeOverwrite $values (omit $own "policyConfig") -}}
{{- $_ := set $values "policyConfig" (default dict $own.policyConfig) -}}
{{- $name = printf "%s-%s" $name .unit -}}
{{- end -}}
{{- $config := $values.policyConfig -}}
{{- if kindIs "string" $config -}}{{- $config = fromYaml $config -}}{{- end -}}
{{- $_ := set .into "values" $values -}}
{{- $_ := set .into "name" $name -}}
{{- $_ := set .into "unit" (default "shared" .unit) -}}
{{- $_ := set .into "config" $config -}}
{{- $_ := set .into "root" .root -}}
{{- include "kt.check" .into -}}
{{- end -}}

{{- /* Whether the sidecar reaches an engine, however the configuration names it: a Secret, a file, or the address itself. */ -}}
{{- define "kt.usesRedis" -}}
{{- if or .values.redis.existingSecret (eq (dig "workflow_cache" "backend" "" .config) "redis") }}true{{ end -}}
{{- end -}}

{{- define "kt.usesPostgres" -}}
{{- $wallet := default dict (dig "wallet" dict .config) -}}
{{- if or .values.postgres.existingSecret (dig "database" dict .config) (dig "url" "" $wallet) }}true{{ end -}}
{{- end -}}

{{- define "kt.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .unit | quote }}
{{- end -}}

{{- define "kt.labels" -}}
{{ include "kt.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
kt-topology: {{ .values.topology }}
{{- with .values.team }}
kt-team: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "kt.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kt.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "kt.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{- define "kt.policyConfig" -}}
{{- if kindIs "string" .values.policyConfig -}}{{ .values.policyConfig }}{{- else -}}{{ toYaml .values.policyConfig }}{{- end -}}
{{- end -}}

{{- define "kt.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end -}}

{{- define "kt.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "kt.engineEnv" -}}
{{- range $engine := list .values.postgres .values.redis }}
{{- if $engine.existingSecret }}
- name: {{ $engine.env }}
  valueFrom: {secretKeyRef: {name: {{ $engine.existingSecret }}, key: {{ $engine.secretKey }}}}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Whether more than one pod may run, or pods that come and go. */ -}}
{{- define "kt.isSeveral" -}}
{{- if or .values.autoscaling.enabled (gt (int .values.replicas) 1) -}}yes{{- end -}}
{{- end -}}
