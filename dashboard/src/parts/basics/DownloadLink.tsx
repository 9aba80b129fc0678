import { Icon } from "./Icon";

/** `name` is read out: several links stand below each other. */
export function Download({ href, name }: { href: string; name: string }) {
  return (
    <a href={href} download className="link inline-flex items-center gap-1" aria-label={`Download ${name}`}>
      <Icon name="download" />
      Download
    </a>
  );
}
