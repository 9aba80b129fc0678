import { useQuery } from "@tanstack/react-query";
import { Link, Outlet } from "@tanstack/react-router";
import { useState } from "react";

import { sessionQuery } from "@/api/project/session";
import { useShortcuts } from "@/lib/browser/shortcuts";
import { Failure } from "@/components/page/Notice";

import { Account } from "./Account";
import { HelpDialog } from "./HelpDialog";
import { PageLinks } from "./PageLinks";
import { PaletteButton } from "./PaletteButton";
import { SignIn } from "./SignIn";
import { ThemeSwitch } from "./ThemeSwitch";

/** The frame of every page. Without a session, every address shows the sign-in, and then its page. */
export function Shell() {
  const { data: session, failureReason } = useQuery(sessionQuery);
  const [isHelpOpen, setHelpOpen] = useState(false);
  useShortcuts({ "?": () => setHelpOpen(true) });
  return (
    <div className="flex min-h-dvh flex-col">
      <a href="#content" className="button sr-only z-20 focus:not-sr-only focus:absolute focus:m-2">
        Skip to the content
      </a>
      <header className="flex flex-wrap items-center gap-x-4 gap-y-2 border-b border-line bg-surface px-4 py-2 [reading-flow:flex-visual] max-sm:gap-x-2">
        <Link to="/jobs" className="flex items-center gap-2 font-semibold">
          <img src="/mark.svg" alt="" className="size-5" />
          <span className="max-sm:sr-only">Tunery</span>
        </Link>
        {session && <PageLinks />}
        {session && <PaletteButton />}
        <div className="ml-auto flex items-center gap-2">
          {session && <Account session={session} />}
          <ThemeSwitch />
          <button type="button" className="button max-sm:hidden" aria-label="Keyboard help" onClick={() => setHelpOpen(true)}>
            ?
          </button>
        </div>
      </header>
      <main id="content" tabIndex={-1} className="flex min-h-0 flex-1 flex-col gap-4 p-4 outline-none">
        {session === undefined ? failureReason && <Failure error={failureReason} /> : session ? <Outlet /> : <SignIn />}
      </main>
      {isHelpOpen && <HelpDialog onClose={() => setHelpOpen(false)} />}
    </div>
  );
}
