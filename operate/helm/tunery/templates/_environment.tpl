{{/* One variable that a Secret has. Takes its name, the Secret and the key in it. */}}
{{- define "tunery.secret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{/*
Variables of a container. Takes root, values (of this program), the defaults that the chart computes, and what it
needs beside the database and the store: "broker", "direct", "keys", "hub" and "sign-on".
*/}}
{{- define "tunery.env" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $needs := .needs | default list -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{ include "tunery.secret" (dict "name" "TUNERY_DATABASE_URL" "secret" $secrets.database.name "key" $secrets.database.key) }}
{{- if and $secrets.databaseDirect.name (has "direct" $needs) }}
{{ include "tunery.secret" (dict "name" "TUNERY_DATABASE_DIRECT_URL" "secret" $secrets.databaseDirect.name "key" $secrets.databaseDirect.key) }}
{{- end }}
{{- if has "broker" $needs }}
{{ include "tunery.secret" (dict "name" "TUNERY_BROKER_URL" "secret" $secrets.broker.name "key" $secrets.broker.key) }}
{{- end }}
{{- if has "keys" $needs }}
{{ include "tunery.secret" (dict "name" "TUNERY_SECRET_KEYS" "secret" $secrets.keys.name "key" $secrets.keys.key) }}
{{- end }}
{{- with $secrets.s3 }}
{{- if .name }}
{{ include "tunery.secret" (dict "name" "AWS_ACCESS_KEY_ID" "secret" .name "key" .accessKeyId) }}
{{ include "tunery.secret" (dict "name" "AWS_SECRET_ACCESS_KEY" "secret" .name "key" .secretAccessKey) }}
{{- end }}
{{- end }}
{{- if and $secrets.huggingFace.name (has "hub" $needs) }}
{{ include "tunery.secret" (dict "name" "HF_TOKEN" "secret" $secrets.huggingFace.name "key" $secrets.huggingFace.key) }}
{{- end }}
{{- if and $secrets.signOn.name (has "sign-on" $needs) }}
{{ include "tunery.secret" (dict "name" "TUNERY_SIGN_ON_CLIENT_SECRET" "secret" $secrets.signOn.name "key" $secrets.signOn.key) }}
{{- end }}
{{- $plain := include "tunery.plain" .root | fromYaml }}
{{- if and .root.Values.catalog (has "hub" $needs) }}
{{- $_ := set $plain "TUNERY_CATALOG_FILE" "/etc/tunery/catalog.toml" }}
{{- end }}
{{- range $name, $value := mustMergeOverwrite $plain (.defaults | default dict) .root.Values.settings (.values.settings | default dict) }}
- name: {{ $name }}
  value: {{ include "tunery.text" $value | quote }}
{{- end }}
{{- with .values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Variables of all programs that are no secrets. */}}
{{- define "tunery.plain" -}}
AWS_DEFAULT_REGION: {{ .Values.s3.region | quote }}
TUNERY_HOME: /var/lib/tunery
TUNERY_LOG_JSON: "true"
TUNERY_S3_BUCKET: {{ .Values.s3.bucket | quote }}
TUNERY_S3_ENDPOINT_URL: {{ .Values.s3.endpointUrl | quote }}
{{- end -}}

{{/* What a worker and a server need, so that the API finds the port on which they answer chats. Takes root. */}}
{{- define "tunery.serving" -}}
TUNERY_SERVE_ADDRESS: http://$(POD_IP):{{ .Values.chatPort }}
TUNERY_SERVE_HOST: 0.0.0.0
TUNERY_SERVE_PORT: {{ .Values.chatPort | quote }}
{{- end -}}

{{/* A value as text. Helm reads each number as a float, and would write a large one with an exponent. */}}
{{- define "tunery.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- end -}}
