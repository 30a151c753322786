// The page of a harbour, with a guide who shows it. The server's side is ../../server.py.

import {
  AvatarCall,
  AvatarVideo,
  ControlBar,
  useAvatarSession,
  useClientEvent,
  useTranscript,
} from "@runwayml/avatars-react";
import "@runwayml/avatars-react/styles.css";
import { useEffect, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import "./page.css";

const API = "/api/avatar";

const PLACES = {
  lighthouse: ["Lighthouse", "It has stood at the end of the mole for two hundred years."],
  market: ["Fish market", "What the boats bring in at five is sold by nine."],
  ferry: ["Ferry", "It crosses to the island every hour, if there is no fog."],
};

function Page() {
  const [call, setCall] = useState(0); // its number; 0: nobody calls
  const [calls, setCalls] = useState(0);
  const [error, setError] = useState(null);
  const [place, setPlace] = useState(null);
  const session = useRef(null); // the id of what is open, and billed

  function begin() {
    setPlace(null);
    setError(null);
    setCalls(calls + 1);
    setCall(calls + 1);
  }

  // The SDK tells the character that the call is over, and leaves at once: the message can be lost.
  // The server sees that somebody has gone, a few seconds later. So it is told as well.
  function end() {
    if (session.current) navigator.sendBeacon(`${API}/end/${session.current}`);
    session.current = null;
    setCall(0);
  }

  useEffect(() => {
    window.addEventListener("pagehide", end);
    return () => window.removeEventListener("pagehide", end);
  });

  return (
    <main>
      <section className="guide">
        {call ? (
          <AvatarCall
            key={call}
            avatarId="guide"
            // The SDK remembers what an address has answered, so each call has one of its own.
            connectUrl={`${API}/connect?call=${call}`}
            video={false}
            onEnd={end}
            onError={(problem) => {
              setError(explained(problem));
              end();
            }}
          >
            <AvatarVideo />
            <ControlBar showCamera={false} />
            <Captions />
            <Shown onPlace={setPlace} />
            <Known as={session} />
          </AvatarCall>
        ) : (
          <div className="start">
            <p>The guide is an AI with a generated face. It listens while the call lasts.</p>
            <button type="button" onClick={begin}>
              Talk to the guide
            </button>
            {error && <p role="alert">{error}</p>}
          </div>
        )}
      </section>
      <section className="places">
        {Object.entries(PLACES).map(([name, [title, text]]) => (
          <article key={name} id={name} aria-current={name === place}>
            <h2>{title}</h2>
            <p>{text}</p>
          </article>
        ))}
      </section>
    </main>
  );
}

/** What both sides say. */
function Captions() {
  const entries = useTranscript({ interim: true });
  return (
    <ol className="captions" aria-live="polite">
      {entries.slice(-4).map(({ id, text }) => (
        // All deltas come from the avatar; whose words they are stands in the id.
        <li key={id} className={id.startsWith("runway-transcription-user-") ? "user" : "guide"}>
          {text}
        </li>
      ))}
    </ol>
  );
}

/** The guide's tool `show_place`. */
function Shown({ onPlace }) {
  useClientEvent("show_place", ({ place }) => onPlace(place));
  return null;
}

/** Keeps the id of the session. */
function Known({ as }) {
  const { sessionId } = useAvatarSession();
  useEffect(() => {
    as.current = sessionId;
  }, [as, sessionId]);
  return null;
}

/** What the router says, out of the SDK's `Failed to connect: 429 {"code": …, "error": …}`. */
function explained(problem) {
  try {
    return JSON.parse(problem.message.replace(/^[^{]*/, "")).error;
  } catch {
    return problem.message;
  }
}

createRoot(document.getElementById("app")).render(<Page />);
