{{/* What a hook's job may do: account, binding, and a role whose rules the caller writes after it. */}}
{{- define "tickershard.hookMetadata" -}}
name: {{ .name }}
labels:
  {{- include "tickershard.labels" .labels | nindent 2 }}
annotations:
  helm.sh/hook: {{ .hook }}
  helm.sh/hook-weight: {{ .weight | quote }}
  # A failed job stays to be looked at.
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "tickershard.hookAccess" }}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "tickershard.hookMetadata" (merge (dict "weight" "-10") .) | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "tickershard.hookMetadata" (merge (dict "weight" "-10") .) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .name }}
    namespace: {{ .root.Release.Namespace }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "tickershard.hookMetadata" (merge (dict "weight" "-10") .) | nindent 2 }}
{{- end }}

{{- define "tickershard.hookJob" }}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "tickershard.hookMetadata" (merge (dict "weight" "0") .) | nindent 2 }}
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 120
  template:
    metadata:
      labels:
        {{- include "tickershard.selector" .labels | nindent 8 }}
    spec:
      restartPolicy: Never
      enableServiceLinks: false
      serviceAccountName: {{ .name }}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "tickershard.podSecurity" .root | nindent 8 }}
      containers:
        - name: hook
          image: {{ include "tickershard.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          command: [python, -m, ticker_operator.app.chart_hooks]
          args: {{ .arguments | toJson }}
          resources:
            requests: {cpu: 50m, memory: 64Mi}
            limits: {memory: 128Mi}
          securityContext:
            {{- include "tickershard.containerSecurity" .root | nindent 12 }}
          {{- if .configMap }}
          volumeMounts:
            - name: objects
              mountPath: {{ .mountPath }}
              readOnly: true
          {{- end }}
      {{- if .configMap }}
      volumes:
        - name: objects
          configMap:
            name: {{ .configMap }}
      {{- end }}
{{- end }}
