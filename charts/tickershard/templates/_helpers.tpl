{{/* Names. */}}
{{- define "tickershard.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "tickershard.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tickershard.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tickershard.operator" -}}
{{ include "tickershard.fullname" . }}-operator
{{- end }}

{{- define "tickershard.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tickershard.operator" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.create is false: set serviceAccount.name to an existing one" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tickershard.simulator" -}}
{{ include "tickershard.fullname" . }}-simulator
{{- end }}

{{- define "tickershard.redis" -}}
{{ include "tickershard.fullname" . }}-redis
{{- end }}

{{/* The Secret whose key `url` says where Redis is. */}}
{{- define "tickershard.redisSecret" -}}
{{- $given := 0 }}
{{- if .Values.redis.url }}{{ $given = add1 $given }}{{ end }}
{{- if .Values.redis.existingSecret }}{{ $given = add1 $given }}{{ end }}
{{- if .Values.redis.trial.enabled }}{{ $given = add1 $given }}{{ end }}
{{- if ne (int $given) 1 }}
{{- fail (printf "say where Redis is, once: set redis.existingSecret (kubectl -n %s create secret generic ticker-redis --from-literal=url=redis://…; then --set redis.existingSecret=ticker-redis), or redis.url, or for a trial redis.trial.enabled=true; now %d of the three are set" .Release.Namespace (int $given)) }}
{{- end }}
{{- /* Not in the schema: helm would repeat the URL, and with it the password. */}}
{{- if and .Values.redis.url (not (regexMatch "^(rediss?([+](sentinel|cluster))?|unix)://.+" .Values.redis.url)) }}
{{- fail "redis.url must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (docs/install.md); this one does not" }}
{{- end }}
{{- default (include "tickershard.redis" .) .Values.redis.existingSecret }}
{{- end }}

{{/* Labels. `selector` never changes for a release; pod templates carry nothing that a new chart version would change. */}}
{{- define "tickershard.selector" -}}
app.kubernetes.io/name: {{ include "tickershard.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "tickershard.labels" -}}
{{ include "tickershard.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Labels that a value adds to pods: never one of those by which these pods are found. */}}
{{- define "tickershard.podLabels" -}}
{{- $value := .value }}
{{- $finding := .finding }}
{{- range $key, $_ := .labels }}
{{- if or (hasPrefix "tickershard.io/" $key) (has $key $finding) }}
{{- fail (printf "%s: the pods are found by %s, so it cannot be set: use a label of your own" $value $key) }}
{{- end }}
{{- end }}
{{- toYaml .labels }}
{{- end }}

{{/* Images. */}}
{{- define "tickershard.reference" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "tickershard.image" -}}
{{- $image := .Values.image }}
{{- include "tickershard.reference" (dict "repository" $image.repository "tag" (default .Chart.AppVersion $image.tag) "digest" $image.digest) }}
{{- end }}

{{- define "tickershard.shardImage" -}}
{{- $own := .Values.shards.image }}
{{- if or $own.repository $own.tag $own.digest }}
{{- $repository := default .Values.image.repository $own.repository }}
{{- include "tickershard.reference" (dict "repository" $repository "tag" (coalesce $own.tag .Values.image.tag .Chart.AppVersion) "digest" $own.digest) }}
{{- else }}
{{- include "tickershard.image" . }}
{{- end }}
{{- end }}

{{/* Pod Security "restricted", and a file system that nobody writes to. */}}
{{- define "tickershard.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "tickershard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Where the simulator answers, as accounts name it. */}}
{{- define "tickershard.simulatorAuthority" -}}
{{ include "tickershard.simulator" . }}.{{ .Release.Namespace }}.svc:8080
{{- end }}

{{- define "tickershard.endpointsAllowed" -}}
{{- $allowed := .Values.endpointsAllowed }}
{{- if .Values.simulator.enabled }}
{{- $authority := include "tickershard.simulatorAuthority" . }}
{{- $allowed = concat $allowed (list (printf "ws://%s" $authority) (printf "http://%s" $authority)) }}
{{- end }}
{{- $allowed | toJson }}
{{- end }}
