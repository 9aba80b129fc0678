import { useRef } from "react";

import { Icon } from "@/parts/basics/Icon";

interface FileButtonProps {
  children: string;
  /** What is picked, read out. */
  label: string;
  primary?: boolean;
  multiple?: boolean;
  accept?: string;
  disabled?: boolean;
  onFiles: (files: readonly File[]) => void;
}

/** Lets files be picked. */
export function FileButton({ children, label, primary, multiple, accept, disabled, onFiles }: FileButtonProps) {
  const picker = useRef<HTMLInputElement>(null);
  return (
    <>
      <button
        type="button"
        className={`button ${primary ? "button-primary" : ""}`}
        disabled={disabled}
        onClick={() => picker.current?.click()}
      >
        <Icon name="up" />
        {children}
      </button>
      <input
        ref={picker}
        type="file"
        hidden
        multiple={multiple}
        accept={accept}
        aria-label={label}
        disabled={disabled}
        onChange={({ target }) => {
          onFiles([...(target.files ?? [])]);
          target.value = ""; // the same file may be mended and picked again
        }}
      />
    </>
  );
}
