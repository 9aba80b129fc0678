/** What can go wrong between us and the API. */

/** The API's error: `message` says what happened and what to do about it. */
export class Refused extends Error {
  override name = "Refused";

  readonly status: number;
  readonly code: string | null;
  readonly param: string | null;

  constructor(message: string, status: number, code: string | null, param: string | null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }

  static async of(response: Response): Promise<Refused> {
    const { error } = await response.json().catch(() => ({}));
    const message = error?.message ?? `The service answered with status ${response.status}.`;
    return new Refused(message, response.status, error?.code ?? null, error?.param ?? null);
  }
}

export class Unreachable extends Error {
  override name = "Unreachable";

  constructor() {
    super("The service does not answer.");
  }
}

/** Whether asking again may help. */
export function isPassing(error: unknown): boolean {
  return error instanceof Unreachable || (error instanceof Refused && (error.status >= 500 || error.status === 429));
}

export function isNotFound(error: unknown): boolean {
  return error instanceof Refused && error.status === 404;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
