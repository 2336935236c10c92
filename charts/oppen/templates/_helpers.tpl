{{/* Prefix of every object's name: the release name unless overridden. */}}
{{- define "oppen.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "oppen.namespace" -}}
{{- .Values.namespace.name -}}
{{- end -}}

{{/* Labels that select the pods of one component: (dict "root" $ "component" "mlflow"). */}}
{{- define "oppen.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* All labels of one component's objects. */}}
{{- define "oppen.labels" -}}
{{ include "oppen.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: oppen
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of an object in the namespace: (dict "root" $ "component" "mlflow" "name" "..."). */}}
{{- define "oppen.metadata" -}}
name: {{ .name }}
namespace: {{ include "oppen.namespace" .root }}
labels:
  {{- include "oppen.labels" . | nindent 2 }}
{{- end -}}

{{/* repository@digest, or repository:tag: (dict "image" ... "tag" default). */}}
{{- define "oppen.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .tag .image.tag }}
{{- end -}}
{{- end -}}

{{- define "oppen.tasksImage" -}}
{{ include "oppen.image" (dict "image" .Values.images.tasks "tag" .Chart.AppVersion) }}
{{- end -}}

{{/* What the restricted pod security standard asks of a pod, for one user. */}}
{{- define "oppen.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "oppen.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Parts of a pod's spec that are the same everywhere. */}}
{{- define "oppen.podDefaults" -}}
enableServiceLinks: false
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "oppen.s3Endpoint" -}}
{{- if .Values.s3.enabled -}}
http://{{ include "oppen.fullname" . }}-s3.{{ include "oppen.namespace" . }}.svc:8333
{{- else -}}
{{ .Values.s3.external.endpoint }}
{{- end -}}
{{- end -}}

{{- define "oppen.mlflowUri" -}}
{{- if .Values.mlflow.enabled -}}
http://{{ include "oppen.fullname" . }}-mlflow.{{ include "oppen.namespace" . }}.svc:5000
{{- else -}}
{{ .Values.mlflow.external.trackingUri }}
{{- end -}}
{{- end -}}

{{- define "oppen.rateCardName" -}}
{{- default (printf "%s-rates" (include "oppen.fullname" .)) .Values.rateCard.existingConfigMap -}}
{{- end -}}

{{- define "oppen.mlflowClaim" -}}
{{- default (printf "%s-mlflow" (include "oppen.fullname" .)) .Values.mlflow.persistence.existingClaim -}}
{{- end -}}

{{/* The S3 login, from the existing Secret and from nowhere else. */}}
{{- define "oppen.s3Login" -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .Values.s3.existingSecret }}, key: AWS_ACCESS_KEY_ID}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.s3.existingSecret }}, key: AWS_SECRET_ACCESS_KEY}}
{{- end -}}

{{/* The login of an external MLflow, which has either kind of it. */}}
{{- define "oppen.mlflowLogin" -}}
{{- if and (not .Values.mlflow.enabled) .Values.mlflow.external.existingSecret }}
{{- range list "MLFLOW_TRACKING_USERNAME" "MLFLOW_TRACKING_PASSWORD" "MLFLOW_TRACKING_TOKEN" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.mlflow.external.existingSecret }}, key: {{ . }}, optional: true}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Combinations that the schema cannot refuse in words that help. */}}
{{- define "oppen.validate" -}}
{{- if and .Values.namespace.create (eq .Release.Namespace .Values.namespace.name) -}}
{{- fail (printf "namespace.create: the release cannot live in the namespace it creates (%s): install with -n oppen-system --create-namespace, or set namespace.create=false" .Values.namespace.name) -}}
{{- end -}}
{{- if and (not .Values.s3.enabled) (not .Values.s3.external.endpoint) -}}
{{- fail "s3.external.endpoint: s3.enabled is false, so name the S3 to use, such as https://s3.eu-central-1.amazonaws.com" -}}
{{- end -}}
{{- if and (not .Values.mlflow.enabled) (not .Values.mlflow.external.trackingUri) -}}
{{- fail "mlflow.external.trackingUri: mlflow.enabled is false, so name the server to use, such as https://mlflow.example.org" -}}
{{- end -}}
{{- if and (eq .Values.mlflow.database.kind "postgres") (not .Values.mlflow.database.existingSecret) -}}
{{- fail "mlflow.database.existingSecret: postgres needs the name of a Secret that holds its address" -}}
{{- end -}}
{{- if and (gt (int .Values.mlflow.replicas) 1) (ne .Values.mlflow.database.kind "postgres") -}}
{{- fail (printf "mlflow.replicas: %d servers cannot share one SQLite file: set mlflow.database.kind=postgres, or one replica" (int .Values.mlflow.replicas)) -}}
{{- end -}}
{{- if and .Values.mlflow.ingress.enabled (not .Values.mlflow.ingress.host) -}}
{{- fail "mlflow.ingress.host: the ingress is on, so name its host" -}}
{{- end -}}
{{- if and .Values.kueue.enabled .Values.quotas.enabled -}}
{{- fail "quotas.enabled: a ResourceQuota refuses pods before Kueue can queue them: with kueue.enabled=true set quotas.enabled=false" -}}
{{- end -}}
{{- if gt (int .Values.quotas.background.gpus) (int .Values.quotas.general.gpus) -}}
{{- fail (printf "quotas.background.gpus: %d is more than the %d of quotas.general.gpus, which it is a part of" (int .Values.quotas.background.gpus) (int .Values.quotas.general.gpus)) -}}
{{- end -}}
{{- range $path, $image := dict "images.tasks" .Values.images.tasks "s3.image" .Values.s3.image "mlflow.image" .Values.mlflow.image "backup.postgresImage" .Values.backup.postgresImage -}}
{{- if and (eq $image.tag "latest") (not $image.digest) -}}
{{- fail (printf "%s.tag: latest is another image tomorrow: name a version or a digest" $path) -}}
{{- end -}}
{{- if and (not $image.tag) (not $image.digest) (ne $path "images.tasks") -}}
{{- fail (printf "%s.tag: name a version or a digest" $path) -}}
{{- end -}}
{{- end -}}
{{- range .Values.tasks.serviceAccount.rules -}}
{{- if or (has "*" .apiGroups) (has "*" .resources) (has "secrets" .resources) -}}
{{- fail "tasks.serviceAccount.rules: no wildcard and no secrets: name what a task reads" -}}
{{- end -}}
{{- end -}}
{{- if has "*" .Values.mlflow.allowedHosts -}}
{{- fail "mlflow.allowedHosts: * switches off the check of the Host header: name the hosts" -}}
{{- end -}}
{{- if and .Values.priorityClasses.byLabel (not .Values.priorityClasses.create) -}}
{{- fail "priorityClasses.byLabel: pods get the values of this chart's classes: set priorityClasses.create=true" -}}
{{- end -}}
{{- if not (and (gt (int .Values.priorityClasses.urgent) (int .Values.priorityClasses.normal)) (gt (int .Values.priorityClasses.normal) (int .Values.priorityClasses.background))) -}}
{{- fail "priorityClasses: urgent must be greater than normal, and normal greater than background" -}}
{{- end -}}
{{- end -}}

{{/* Where MLflow keeps its runs: a file on the volume, or an address that only the Secret knows. */}}
{{- define "oppen.mlflowEnv" -}}
- name: MLFLOW_BACKEND_STORE_URI
  {{- if eq .Values.mlflow.database.kind "postgres" }}
  valueFrom: {secretKeyRef: {name: {{ .Values.mlflow.database.existingSecret }}, key: {{ .Values.mlflow.database.secretKey }}}}
  {{- else }}
  value: sqlite:////data/mlflow.db
  {{- end }}
- {name: HOME, value: /tmp}
- {name: MLFLOW_DISABLE_TELEMETRY, value: "true"}
{{- end -}}

{{- define "oppen.mlflowMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if eq .Values.mlflow.database.kind "sqlite" }}
- {name: data, mountPath: /data}
{{- end }}
{{- end -}}

{{/* Peers of a NetworkPolicy: the pods of components. */}}
{{- define "oppen.peers" -}}
{{- range .components }}
- podSelector:
    matchLabels:
      {{- include "oppen.selector" (dict "root" $.root "component" .) | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Egress to the S3 of this chart; an external one is reached through networkPolicy.external. */}}
{{- define "oppen.toS3" -}}
{{- if .Values.s3.enabled }}
- to:
    {{- include "oppen.peers" (dict "root" $ "components" (list "s3")) | nindent 4 }}
  ports:
    - {port: 8333}
{{- end }}
{{- end -}}

{{- define "oppen.toExternal" -}}
{{- range .Values.networkPolicy.external }}
- to:
    - ipBlock: {cidr: {{ .cidr }}}
  ports:
    - {port: {{ .port }}}
{{- end }}
{{- end -}}

{{/* The repository, and where git finds its login: Flyte mounts it for the tasks of tasks/publish.py alone. */}}
{{- define "oppen.gitSettings" -}}
{{- $login := "/etc/flyte/secrets/oppen-git" -}}
OPPEN_GIT_REPOSITORY: {{ .Values.git.repository | quote }}
{{- if hasPrefix "https://" .Values.git.repository }}
GIT_CONFIG_COUNT: "1"
# The login is for this host alone.
GIT_CONFIG_KEY_0: credential.https://{{ (urlParse .Values.git.repository).host }}.helper
GIT_CONFIG_VALUE_0: >-
  !f() { test "$1" = get || return 0; for key in username password; do
  test ! -r {{ $login }}/$key || echo "$key=$(cat {{ $login }}/$key)"; done; }; f
{{- else }}
GIT_SSH_COMMAND: >-
  ssh -i {{ $login }}/ssh-privatekey -o UserKnownHostsFile={{ $login }}/known_hosts
  -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o BatchMode=yes
{{- end }}
{{- end -}}

{{/* The port of the repository's server. */}}
{{- define "oppen.gitPort" -}}
{{- $address := .Values.git.repository -}}
{{- $named := "" -}}
{{- if contains "://" $address -}}
{{- $named = (urlParse $address).host | regexFind ":[0-9]+$" | trimPrefix ":" -}}
{{- end -}}
{{- default (ternary "443" "22" (hasPrefix "https://" $address)) $named -}}
{{- end -}}
