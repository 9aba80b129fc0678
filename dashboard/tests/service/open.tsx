import { QueryClientProvider } from "@tanstack/react-query";
import { createMemoryHistory, RouterProvider } from "@tanstack/react-router";
import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import type { HttpHandler } from "msw";
import { expect, onTestFinished, vi } from "vitest";

import { onSignedOut } from "@/api/client";
import { loseSession } from "@/api/project/session";
import { newQueryClient } from "@/queryClient";
import { newRouter } from "@/router";

import { server } from "./service";

/** Opens the dashboard at an address. The answers are added to those of an empty project. */
export function open(path: string, ...answers: HttpHandler[]) {
  server.use(...answers);
  const client = newQueryClient();
  const router = newRouter(createMemoryHistory({ initialEntries: [path] }));
  const stop = onSignedOut((why) => loseSession(client, why));
  onTestFinished(() => {
    stop();
    client.clear();
  });
  render(
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>,
  );
  return { user: userEvent.setup({ delay: null, pointerEventsCheck: 0 }), router };
}

type Name = string | RegExp;
type User = ReturnType<typeof userEvent.setup>;

/** Puts a text into a field at once: each key would render the page anew. */
export async function fill(user: User, field: HTMLElement, text: string): Promise<void> {
  await user.clear(field);
  await user.paste(text);
}

/** The part of the page with this name, once it is there. */
export const region = async (name: Name) => within(await screen.findByRole("region", { name }));
export const dialog = async (name?: Name) => within(await screen.findByRole("dialog", name === undefined ? {} : { name }));
export const button = (name: Name) => screen.findByRole<HTMLButtonElement>("button", { name });
/** The row of a table that has these words. */
export const row = async (words: string) => {
  const found = (await screen.findAllByRole("row")).find((one) => wordsOf(one).includes(words));
  if (!found) throw new Error(`no row with ${words}`);
  return found;
};

/** The words of an element, as a reader sees them: white space counts once. */
export const wordsOf = (element: Element | null | undefined) => (element?.textContent ?? "").replaceAll(/\s+/g, " ");

/** Waits until the page has these words. */
export const see = (words: Name) =>
  waitFor(() => (words instanceof RegExp ? expect(wordsOf(document.body)).toMatch(words) : expect(wordsOf(document.body)).toContain(words)));
/** Waits until the page has these words no more. */
export const unsee = (words: string) => waitFor(() => expect(wordsOf(document.body)).not.toContain(words));

/** A clock that goes on as usual, and that a test can put forward. */
export function clock() {
  vi.useFakeTimers({ shouldAdvanceTime: true, toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  return { forward: (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds) };
}
