import { Link, useLocation } from "@tanstack/react-router";
import { type FocusEvent, type KeyboardEvent, useState } from "react";

import { PAGES } from "./navigation";

const ON_A_PHONE = 4; // entries that fit into one row beside "More"
const LOOKS = "rounded px-2 py-1 whitespace-nowrap max-md:py-1.5 aria-[current=page]:bg-tint aria-[current=page]:text-accent";

/** The pages in one row. A phone shows the first of them, and the others in a list that "More" opens. */
export function PageLinks() {
  return (
    <nav aria-label="Pages" className="flex flex-wrap max-md:order-last max-md:-ml-2 max-md:w-[calc(100%+0.5rem)]">
      {PAGES.map(([to, name], at) => (
        <Link key={to} to={to} className={`${LOOKS} ${at < ON_A_PHONE ? "" : "max-md:hidden"}`}>
          {name}
        </Link>
      ))}
      <More />
    </nav>
  );
}

/** The pages for which a phone's row has no room. The list closes when a page is chosen and when the focus leaves it. */
function More() {
  const [isOpen, setOpen] = useState(false);
  const { pathname } = useLocation();
  const pages = PAGES.slice(ON_A_PHONE);
  const current = pages.find(([to]) => pathname === to || pathname.startsWith(`${to}/`));
  const leave = (event: FocusEvent) => {
    if (!event.currentTarget.contains(event.relatedTarget)) setOpen(false);
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Escape") setOpen(false);
  };
  return (
    // The list is the parent of what takes the keys.
    // eslint-disable-next-line jsx-a11y/no-static-element-interactions
    <div className="relative ml-auto md:hidden" onBlur={leave} onKeyDown={press}>
      <button
        type="button"
        className={`${LOOKS} ${current ? "bg-tint text-accent" : ""}`}
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
      >
        {current ? current[1] : "More"} <span aria-hidden="true">▾</span>
        {current && <span className="sr-only">, and more pages</span>}
      </button>
      {isOpen && (
        <ul className="card absolute top-full right-0 z-20 mt-1 grid min-w-40 p-1 shadow-lg">
          {pages.map(([to, name]) => (
            <li key={to}>
              <Link to={to} className={`${LOOKS} block`} onClick={() => setOpen(false)}>
                {name}
              </Link>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
