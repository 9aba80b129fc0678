{{/* Labels of an object. Takes root, and the component, such as "api" or "worker-gpu". */}}
{{- define "tunery.labels" -}}
{{ include "tunery.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* Labels by which a component's pods are found. */}}
{{- define "tunery.selector" -}}
{{ include "tunery.release" .root }}
app.kubernetes.io/component: {{ .component }}
tunery.dev/program: {{ .program }}
{{- end -}}

{{/* Labels of all pods of this release. */}}
{{- define "tunery.release" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Reference of an image. Takes root and the image's values. */}}
{{- define "tunery.image" -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end -}}

{{/* All workers by their names, each with what it takes from the defaults. */}}
{{- define "tunery.workers" -}}
{{- range $name, $worker := .Values.workers }}
{{ $name }}: {{ mustMergeOverwrite (deepCopy $.Values.workerDefaults) ($worker | default dict) | toJson }}
{{- end }}
{{- end -}}

{{/* All servers by their names. */}}
{{- define "tunery.servers" -}}
{{- range $name, $server := .Values.servers }}
{{ $name }}: {{ mustMergeOverwrite (deepCopy $.Values.serverDefaults) ($server | default dict) | toJson }}
{{- end }}
{{- end -}}
