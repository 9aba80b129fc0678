{{/* Head of a NetworkPolicy. Takes root, name and selector (a YAML map of labels). */}}
{{- define "tunery.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .root.Release.Name }}-{{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "tunery.release" .root | nindent 4 }}
{{- end -}}

{{/* Labels of the pods of one program. Takes root and program. */}}
{{- define "tunery.program" -}}
{{ include "tunery.release" .root }}
tunery.dev/program: {{ .program }}
{{- end -}}

{{/* A rule that lets pods reach one of the three servers. Takes the server's values: port, and where it is. */}}
{{- define "tunery.reach" -}}
- ports:
    - port: {{ .port }}
      protocol: TCP
  {{- with .to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Rules that let pods reach those that answer chats, and addresses outside of all private networks. Takes root. */}}
{{- define "tunery.reachOthers" -}}
- ports:
    - port: {{ .Values.chatPort }}
      protocol: TCP
  to:
    - podSelector:
        matchLabels: {{- include "tunery.release" . | nindent 10 }}
{{ include "tunery.reachInternet" . }}
{{- end -}}

{{- define "tunery.reachInternet" -}}
{{- if .Values.networkPolicy.internet.enabled -}}
- ports:
    - port: 443
      protocol: TCP
  to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{- toYaml .Values.networkPolicy.internet.except | nindent 10 }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A rule that lets the API and eval runs, which are beside workers, ask for answers. Takes root. */}}
{{- define "tunery.askedByOthers" -}}
- ports:
    - port: {{ .Values.chatPort }}
      protocol: TCP
  from:
    - podSelector:
        matchLabels: {{- include "tunery.program" (dict "root" . "program" "api") | nindent 10 }}
    - podSelector:
        matchLabels: {{- include "tunery.program" (dict "root" . "program" "worker") | nindent 10 }}
{{- end -}}
