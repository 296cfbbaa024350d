{{- /* The pod: the sidecar starts first and ends last, so that no request finds it missing. */ -}}
{{- define "kt.pod" -}}
metadata:
  labels:
    {{- include "kt.labels" . | nindent 4 }}
    {{- with .values.podLabels }}{{ toYaml . | nindent 4 }}{{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: gateway
    {{- if .values.restartOnConfigChange }}
    checksum/policy-config: {{ include "kt.policyConfig" . | sha256sum }}
    {{- end }}
    {{- with .values.podAnnotations }}{{ toYaml . | nindent 4 }}{{- end }}
spec:
  serviceAccountName: {{ include "kt.serviceAccount" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- /* Its parts: the pause, the requests that run, Envoy's 5 s, and the sidecar's 55 s. */}}
  terminationGracePeriodSeconds: {{ add .values.gateway.preStopSeconds .values.gateway.drainSeconds 60 }}
  securityContext:
    {{- include "kt.podSecurity" . | nindent 4 }}
  {{- with .values.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  initContainers:
    {{- include "kt.sidecarContainer" . | nindent 4 }}
  containers:
    {{- include "kt.gatewayContainer" . | nindent 4 }}
  volumes:
    - name: policy-config
      configMap: {name: {{ .name }}}
    # Sockets, and the providers' credentials for Envoy: in memory, never on a disk. Both containers mount it.
    - name: run
      emptyDir: {medium: Memory, sizeLimit: 16Mi}
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- if not .values.persistence.enabled }}
    - name: data
      emptyDir: {}
    {{- end }}
    {{- with .values.extraVolumes }}{{ toYaml . | nindent 4 }}{{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "kt.selector" . | nindent 10 }}
  {{- with .values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "kt.sidecarContainer" -}}
- name: sidecar-cache
  image: {{ include "kt.image" (dict "root" .root "image" .values.images.sidecar) }}
  imagePullPolicy: {{ .values.images.sidecar.pullPolicy }}
  # A native sidecar: it is ready before the gateway starts, and is told to stop once the gateway has ended.
  restartPolicy: Always
  args:
    - --policy-config=/etc/kt/policy-config.yaml
    - --socket=/run/kt/sidecar.sock
    - --data-dir=/var/lib/kt/data
    - --listen={{ .values.bindAddress }}:{{ .values.sidecar.port }}
    {{- with .values.otlp.endpoint }}
    - --otlp-endpoint={{ . }}
    - --trace-ratio={{ $.values.otlp.traceRatio }}
    {{- end }}
  {{- $env := include "kt.engineEnv" . }}
  {{- if or $env .values.sidecar.extraEnv }}
  env:
    {{- $env | nindent 4 }}
    {{- with .values.sidecar.extraEnv }}{{ toYaml . | nindent 4 }}{{- end }}
  {{- end }}
  ports:
    - {name: sidecar-health, containerPort: {{ .values.sidecar.port }}}
  # Not before the ledger has been audited.
  startupProbe:
    httpGet: {path: /health, port: sidecar-health}
    periodSeconds: 1
    failureThreshold: {{ .values.sidecar.startupSeconds }}
  # Not /health, which says 503 while it drains; nor the port, which the kernel opens for one that stands still as well. An answer
  # shows that the process runs and answers there, and not that it serves its gateways.
  livenessProbe:
    httpGet: {path: /metrics, port: sidecar-health}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  securityContext:
    {{- include "kt.containerSecurity" . | nindent 4 }}
  resources: {{ toYaml .values.sidecar.resources | nindent 4 }}
  volumeMounts:
    - {name: policy-config, mountPath: /etc/kt, readOnly: true}
    - {name: run, mountPath: /run/kt}
    - {name: data, mountPath: /var/lib/kt}
    - {name: tmp, mountPath: /tmp}
    {{- with .values.sidecar.extraVolumeMounts }}{{ toYaml . | nindent 4 }}{{- end }}
{{- end -}}

{{- define "kt.gatewayContainer" -}}
- name: gateway
  image: {{ include "kt.image" (dict "root" .root "image" .values.images.gateway) }}
  imagePullPolicy: {{ .values.images.gateway.pullPolicy }}
  args:
    - gateway
    - run
    - --listen={{ .values.bindAddress }}:{{ .values.gateway.port }}
    - --metrics={{ .values.bindAddress }}:{{ .values.gateway.metricsPort }}
    - --policy-config=/etc/kt/policy-config.yaml
    - --sidecar=/run/kt/sidecar.sock
    - --id=$(POD_NAME)
    - --role={{ .values.gateway.role }}
    - --run-dir=/run/kt/gateway
    - --concurrency={{ .values.gateway.concurrency }}
    - --envoy-log-level={{ .values.gateway.envoyLogLevel }}
    - --drain-seconds={{ .values.gateway.drainSeconds }}
  env:
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    # So that `kubectl exec POD -- kt key create` finds its sidecar.
    - {name: KT_SIDECAR, value: /run/kt/sidecar.sock}
    {{- range .values.providerKeys }}
    - name: {{ .env }}
      valueFrom: {secretKeyRef: {name: {{ .secretName }}, key: {{ .secretKey }}}}
    {{- end }}
    {{- with .values.gateway.extraEnv }}{{ toYaml . | nindent 4 }}{{- end }}
  ports:
    - {name: http, containerPort: {{ .values.gateway.port }}}
    - {name: metrics, containerPort: {{ .values.gateway.metricsPort }}}
  startupProbe:
    httpGet: {path: /health, port: http}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /health, port: http}
    periodSeconds: 5
    failureThreshold: 2
  # Not /health, which says 503 while the sidecar is away: that is no reason to restart Envoy, which serves again as soon as it is back.
  livenessProbe:
    tcpSocket: {port: http}
    periodSeconds: 10
    failureThreshold: 6
  lifecycle:
    preStop: {sleep: {seconds: {{ .values.gateway.preStopSeconds }}}}
  securityContext:
    {{- include "kt.containerSecurity" . | nindent 4 }}
  resources: {{ toYaml .values.gateway.resources | nindent 4 }}
  volumeMounts:
    - {name: policy-config, mountPath: /etc/kt, readOnly: true}
    - {name: run, mountPath: /run/kt}
    - {name: tmp, mountPath: /tmp}
    {{- with .values.gateway.extraVolumeMounts }}{{ toYaml . | nindent 4 }}{{- end }}
{{- end -}}
