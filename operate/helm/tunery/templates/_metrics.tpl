{{/*
All components that show metrics: each with its program, the number of its port, and the port's name. Takes root.
Servers show theirs on the port on which they answer chats, the others on a port of its own.
*/}}
{{- define "tunery.measured" -}}
{{- with .Values.api.metrics.port }}
{{- include "tunery.checkMetricsPort" (dict "root" $ "where" "api" "port" .) }}
- { component: api, program: api, port: {{ . }}, name: metrics }
{{- end }}
{{- range $name, $worker := include "tunery.workers" . | fromYaml }}
{{- with $worker.metrics.port }}
{{- include "tunery.checkMetricsPort" (dict "root" $ "where" (printf "workers.%s" $name) "port" .) }}
- { component: worker-{{ $name }}, program: worker, port: {{ . }}, name: metrics }
{{- end }}
{{- end }}
{{- range $name, $server := include "tunery.servers" . | fromYaml }}
{{- if $server.metrics.enabled }}
- { component: server-{{ $name }}, program: server, port: {{ $.Values.chatPort }}, name: chats }
{{- end }}
{{- end }}
{{- end -}}

{{/* Refuses a port that something else has. Takes root, where the value is, and port. */}}
{{- define "tunery.checkMetricsPort" -}}
{{- if has (int .port) (list (int .root.Values.chatPort) (int .root.Values.api.port)) -}}
{{- fail (printf "%s.metrics.port: %d is already api.port or chatPort; choose another port" .where (int .port)) }}
{{- end -}}
{{- end -}}

{{/* A port for metrics, if the program has one beside its own. Takes values. */}}
{{- define "tunery.metricsPort" -}}
{{- with .values.metrics.port -}}
- name: metrics
  containerPort: {{ . }}
{{- end }}
{{- end -}}

{{/* Rules that let a collector of metrics reach the pods of a program. Takes root and program. */}}
{{- define "tunery.measuredFrom" -}}
{{- $from := .root.Values.networkPolicy.metricsFrom -}}
{{- $ports := list -}}
{{- range include "tunery.measured" .root | fromYamlArray -}}
{{- if eq .program $.program }}{{ $ports = append $ports (int .port) }}{{ end -}}
{{- end -}}
{{- if and $ports (not $from) -}}
{{- fail "networkPolicy.metricsFrom: name who collects the metrics. As long as it is empty, nobody reaches them" }}
{{- end -}}
{{- range uniq $ports }}
- ports:
    - port: {{ . }}
      protocol: TCP
  from: {{- toYaml $from | nindent 4 }}
{{- end }}
{{- end -}}
