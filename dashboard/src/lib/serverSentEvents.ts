/** Server-sent events out of pieces of text (HTML standard, section 9.2.6). */

interface ServerSentEvent {
  id: string;
  data: string;
}

/** Keeps what is not complete yet. Comments, which keep a connection alive, are nothing. */
export class EventParser {
  private rest = "";
  private id = "";
  private data: string[] = [];

  push(text: string): ServerSentEvent[] {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.line(line));
  }

  private line(line: string): ServerSentEvent[] {
    if (line === "") return this.dispatch();
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === "id") this.id = value ?? "";
    if (field === "data") this.data.push(value ?? "");
    return [];
  }

  private dispatch(): ServerSentEvent[] {
    if (!this.data.length) return [];
    const event = { id: this.id, data: this.data.join("\n") };
    this.data = [];
    return [event];
  }
}
