{{/*
Settings of `tickershard operator`, by name; values are text, structures are JSON. Empty structures are left out.
*/}}
{{- define "tickershard.operatorSettings" -}}
{{- $operator := .Values.operator }}
{{- $shards := .Values.shards }}
{{- /* The operator would refuse them too, at its start and again and again. */}}
{{- if le (float64 $operator.moveAfterS) (float64 $operator.detectAfterS) }}
{{- fail (printf "operator.moveAfterS (%v) must be above operator.detectAfterS (%v): a shard is silent before it is lost" $operator.moveAfterS $operator.detectAfterS) }}
{{- end }}
{{- if gt (int $shards.circuitWaitFirstMs) (int $shards.circuitWaitMaxMs) }}
{{- fail (printf "shards.circuitWaitFirstMs (%v) must not be above shards.circuitWaitMaxMs (%v)" $shards.circuitWaitFirstMs $shards.circuitWaitMaxMs) }}
{{- end }}
{{- if ge (int $shards.backpressureConflateMs) (int $shards.backpressureShedMs) }}
{{- fail (printf "shards.backpressureConflateMs (%v) must be below shards.backpressureShedMs (%v)" $shards.backpressureConflateMs $shards.backpressureShedMs) }}
{{- end }}
namespace: {{ .Release.Namespace | quote }}
endpoints_allowed: {{ include "tickershard.endpointsAllowed" . | quote }}
redis_secret: {{ include "tickershard.redisSecret" . | quote }}
prefix: {{ .Values.redis.prefix | quote }}
port: "8080"
strategy: {{ $operator.strategy | quote }}
quiet_ms: {{ $operator.quietMs | int | quote }}
plan_interval_s: {{ $operator.planIntervalS | toString | quote }}
resync_s: {{ $operator.resyncS | toString | quote }}
detect_after_s: {{ $operator.detectAfterS | toString | quote }}
move_after_s: {{ $operator.moveAfterS | toString | quote }}
start_after_s: {{ $operator.startAfterS | toString | quote }}
hold_down_s: {{ $operator.holdDownS | toString | quote }}
drain_deadline_s: {{ $operator.drainDeadlineS | toString | quote }}
rollout_deadline_s: {{ $operator.rolloutDeadlineS | int | quote }}
max_moves_per_minute: {{ $operator.maxMovesPerMinute | int | quote }}
log_level: {{ $operator.logLevel | quote }}
shard_image: {{ include "tickershard.shardImage" . | quote }}
shard_image_pull_policy: {{ .Values.image.pullPolicy | quote }}
shard_window_ms: {{ $shards.windowMs | int | quote }}
shard_ticks_max: {{ $shards.ticksMax | int | quote }}
shard_silence_ms: {{ $shards.silenceMs | int | quote }}
shard_mute_ms: {{ $shards.muteMs | int | quote }}
shard_market_hours: {{ $shards.marketHours | quote }}
shard_confirm_after_s: {{ $shards.confirmAfterS | toString | quote }}
shard_rate: {{ $shards.rate | toString | quote }}
shard_dividend_yield: {{ $shards.dividendYield | toString | quote }}
shard_underlying_stale_s: {{ $shards.underlyingStaleS | toString | quote }}
shard_reprice_ms: {{ $shards.repriceMs | int | quote }}
shard_stream_max: {{ $shards.streamMax | int | quote }}
shard_circuit_failures: {{ $shards.circuitFailures | int | quote }}
shard_circuit_wait_first_ms: {{ $shards.circuitWaitFirstMs | int | quote }}
shard_circuit_wait_max_ms: {{ $shards.circuitWaitMaxMs | int | quote }}
shard_backpressure_fill: {{ $shards.backpressureFill | toString | quote }}
shard_backpressure_conflate_ms: {{ $shards.backpressureConflateMs | int | quote }}
shard_backpressure_shed_ms: {{ $shards.backpressureShedMs | int | quote }}
shard_backpressure_calm_ms: {{ $shards.backpressureCalmMs | int | quote }}
shard_drain_deadline_s: {{ $shards.drainDeadlineS | int | quote }}
shard_log_level: {{ $shards.logLevel | quote }}
shard_resources: {{ $shards.resources | toJson | quote }}
{{- with .Values.imagePullSecrets }}
{{- $names := list }}
{{- range . }}{{ $names = append $names .name }}{{ end }}
shard_image_pull_secrets: {{ $names | toJson | quote }}
{{- end }}
{{- with $shards.podLabels }}
shard_pod_labels: {{ include "tickershard.podLabels" (dict "value" "shards.podLabels" "labels" . "finding" (list "app.kubernetes.io/managed-by")) | fromYaml | toJson | quote }}
{{- end }}
{{- with $shards.podAnnotations }}
shard_pod_annotations: {{ toJson . | quote }}
{{- end }}
{{- with $shards.nodeSelector }}
shard_node_selector: {{ toJson . | quote }}
{{- end }}
{{- with $shards.tolerations }}
shard_tolerations: {{ toJson . | quote }}
{{- end }}
{{- with $shards.affinity }}
shard_affinity: {{ toJson . | quote }}
{{- end }}
{{- with $shards.priorityClassName }}
shard_priority_class: {{ . | quote }}
{{- end }}
{{- end }}
